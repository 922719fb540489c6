// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"strconv"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

// Suite is a package of tests that share a Cluster.
type Suite struct {
	// Parallel is the default of -parallel. Tests mostly wait, so GOMAXPROCS would be far too few.
	Parallel int
	// Setup starts what the tests share beside the cluster.
	Setup func(context.Context, *Cluster) error
	// Secrets of the tests, by name, must not be in logs, events, statuses, or what Outputs returns.
	Secrets map[string]string
	// Outputs returns what else the programs have shown, by where.
	Outputs func(context.Context) (map[string]string, error)
	// Health are the kinds of which the whole suite shows every state, and its exceptions.
	Health, HealthExceptions []string
}

// RunTests runs the tests of a package, for its TestMain. It does not return.
func (s Suite) RunTests(m *testing.M) {
	flag.Parse()
	if s.Parallel > 0 && !isSet("test.parallel") {
		_ = flag.Set("test.parallel", strconv.Itoa(s.Parallel)) // a number parses
	}
	c := &Cluster{secrets: s.Secrets}
	code, err := s.run(m, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "the programs' log:\n%s", c.Log.String())
	}
	os.Exit(code)
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func (s Suite) run(m *testing.M, c *Cluster) (code int, err error) {
	ctx := context.Background()
	defer c.Stop()
	err = Try(func() {
		c.start(ctx)
		Must(s.Setup(ctx, c))
		if code = m.Run(); code == 0 {
			c.checkSecrets(ctx, s.Outputs)
			s.checkHealth(c)
		}
	})
	return code, err
}

// checkHealth fails if kstatus or Argo CD would misread an object of some test.
func (s Suite) checkHealth(c *Cluster) {
	complete := s.Health
	if isSet("test.run") || isSet("test.skip") {
		complete = nil // some tests were left out
	}
	Must(c.health.Check(complete, s.HealthExceptions...))
}

// checkSecrets fails if the programs have shown a secret of the suite.
func (c *Cluster) checkSecrets(ctx context.Context, outputs func(context.Context) (map[string]string, error)) {
	if c.secrets == nil {
		return
	}
	written := MustGet(Written(ctx, c.Admin))
	written["log"] = c.Log.String()
	if outputs != nil {
		maps.Copy(written, MustGet(outputs(ctx)))
	}
	if written["log"] == "" || written["statuses of messages"] == "" {
		Failf("nothing was written that secrets could be in")
	}
	secrets := maps.Clone(c.secrets)
	secrets["the AES key"], secrets["a token of the cluster"] = devserver.DevelopmentKey, "eyJhbGciOi"
	Must(Leaked(written, secrets))
}
