// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const doctorLong = `Check a TeamTalkServer, and say what to fix. The command sends no message and changes nothing.

It shows what the operator reports, and then checks from where it runs: the operator's Lease, the key, db_proxy, the
directory, the read path, whether the key opens what the sender's conversations hold, the routers, and the clocks.
It connects to a router as message servers do, and asks it for the presence of the sender.

Results are ok, warn (it works, or could not be checked) and fail. The exit code is 1 if something fails.

`

const doctorExample = `  # The TeamTalkServer "default" of the namespace
  kubectl teamtalk doctor

  # Another one, from a laptop, through forwarded ports
  kubectl teamtalk doctor --server chat/default --db-proxy 127.0.0.1:10600 --router 127.0.0.1:8200`

// doctorTimeout bounds each check.
const doctorTimeout = 15 * time.Second

// Results of checks.
const resultOK, resultWarn, resultFail = "ok", "warn", "fail"

// finding is the result of a check.
type finding struct {
	Result  string `json:"result"`
	Check   string `json:"check"`
	Message string `json:"message"`
}

// doctor is the command doctor.
type doctor struct {
	*kube.Access

	flags  targetFlags
	router string
	output kube.Output

	target   *target
	keys     *cipher.Keys // nil: they could not be read
	findings []finding
}

// NewDoctorCommand returns the command doctor.
func NewDoctorCommand(a *kube.Access) *cobra.Command {
	d := &doctor{Access: a}
	c := &cobra.Command{
		Use: "doctor", Short: "Check a TeamTalkServer from here, and say what to fix; sends nothing",
		Long: doctorLong + fmt.Sprintf(reachLong, "kubectl teamtalk doctor"), Example: doctorExample,
		Args: kube.MaxArgs(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	d.flags.addFlags(a, c)
	c.Flags().StringVar(&d.router, "router", "",
		"`address` of a router as host:port, instead of the TeamTalkServer's endpoints")
	d.output.AddFlag(c, kube.ReportFormats)
	c.RunE = func(c *cobra.Command, _ []string) error { return d.run(c.Context()) }
	return c
}

func (d *doctor) run(ctx context.Context) error {
	if err := d.output.Validate(); err != nil {
		return err
	}
	if err := checkAddress("router", d.router); err != nil {
		return err
	}
	t, err := d.flags.find(ctx, d.Access)
	if err != nil {
		return err
	}
	d.target = t
	for _, check := range []func(context.Context){
		d.checkOperator, d.checkClocks, d.checkKey, d.checkDBProxies, d.checkRouters,
	} {
		check(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	failed := 0
	for _, f := range d.findings {
		if f.Result == resultFail {
			failed++
		}
	}
	if !d.output.IsTable() {
		if err := d.output.PrintData(d.Out, d.findings); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks of TeamTalkServer %s/%s fail",
			failed, len(d.findings), t.server.Namespace, t.server.Name)
	}
	return nil
}

// report adds a finding, and shows it at once: some checks take seconds.
func (d *doctor) report(result, check, format string, args ...any) {
	f := finding{result, check, fmt.Sprintf(format, args...)}
	d.findings = append(d.findings, f)
	if d.output.IsTable() {
		fmt.Fprintf(d.Out, "%-4s  %-11s  %s\n", f.Result, f.Check, kube.Printable(f.Message))
	}
}

// checkKey reads the key.
func (d *doctor) checkKey(ctx context.Context) {
	keys, err := d.target.keys(ctx)
	ref := d.target.server.Spec.AESKeySecretRef
	_, isNotPermitted := errors.AsType[notPermittedError](err)
	switch {
	case isNotPermitted:
		d.report(resultWarn, "key", "not checked: %v", err)
	case err != nil:
		d.report(resultFail, "key", "%v", err)
	default:
		d.keys = &keys
		d.report(resultOK, "key", "Secret %q has a key of 32 bytes, and %s", ref.Name,
			kube.Count(len(keys.Previous), "previous key"))
	}
}

// checkRouters connects to each router, and has it answer.
func (d *doctor) checkRouters(ctx context.Context) {
	endpoints := connection.ConfigOf(d.target.server).Router
	if d.router != "" {
		endpoints = []string{d.router}
	}
	for _, address := range endpoints {
		d.checkRouter(ctx, address)
	}
}

func (d *doctor) checkRouter(ctx context.Context, address string) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	c, stop, err := dialRouter(ctx, address)
	if err != nil {
		d.report(resultFail, "router", "%v: check spec.router.endpoints and the network; "+
			"if it can be reached only inside the cluster, use kubectl port-forward and --router", err)
		return
	}
	defer stop()
	began := time.Now()
	answered, err := c.Ping(ctx, d.target.sender)
	switch {
	case err != nil:
		d.report(resultFail, "router", "%s ends the connection: is it the port of route_server?", address)
	case !answered:
		d.report(resultWarn, "router", "%s is connected, and does not answer: is it a route_server? "+
			"Messages count as routed when they are written", address)
	default:
		d.report(resultOK, "router", "%s answers in %s", address, rounded(time.Since(began)))
	}
}

func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
