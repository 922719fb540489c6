package operator

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/controlplane"
	"github.com/teamtalk-io/teamtalk-operator/test/harness"
)

// TestWithoutCRDs starts the operator before its kinds are installed, as one does:
// it says what to do, at once.
func TestWithoutCRDs(t *testing.T) {
	t.Parallel()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Stop() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := plane.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	operator, err := harness.Start(world.Binary, &log, "--kubeconfig", kubeconfig,
		"--health-address", "0", "--metrics-address", "0")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-operator.Ended():
	case <-time.After(patience):
		operator.Kill()
		t.Fatal("the operator goes on without its kinds")
	}
	if operator.Err() == nil || !strings.Contains(log.String(), "kubectl apply -k config/crd") {
		t.Errorf("ended with %v and said: %s", operator.Err(), log.String())
	}
}
