package observability

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

// TestLog checks that all that the operators say is JSON, that the keys of their
// own lines are documented, and that they say nothing that is secret.
func TestLog(t *testing.T) {
	m := send(t, "logged", v1alpha1.Recipients{Users: []v1alpha1.UserID{4242}})
	// Something that a library has to say by itself.
	_, _, _ = get(t.Context(), "http://"+world.leader.metrics+"/metrics", "")

	page, err := os.ReadFile(filepath.Join(world.Root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Logs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, key := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, key[1])
		}
	}
	said := false
	log := world.log.String()
	for s := bufio.NewScanner(strings.NewReader(log)); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Errorf("not JSON: %s", s.Text())
			continue
		}
		logger, _ := line["logger"].(string)
		said = said || line["msg"] == "message finished" && line["uid"] == string(m.UID) && line["reason"] == v1alpha1.ReasonRecipientNotFound
		if !slices.Contains([]string{"", "caches", "connection", "delivery", "leadership", "tracing", "net-http"}, logger) {
			continue
		}
		if msg, _ := line["msg"].(string); strings.HasPrefix(strings.ToLower(msg), "starting ") {
			continue // controller-runtime's, which has no name there
		}
		for key := range line {
			if !slices.Contains(documented, key) {
				t.Errorf("docs/operations.md does not know the key %q of %s", key, s.Text())
			}
		}
	}
	if !said {
		t.Errorf("the log does not say that message %s has failed", m.Name)
	}
	for what, secret := range map[string]string{"the key": devserver.DevelopmentKey, "a message's text": text, "a token": world.scraper} {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log", what)
		}
	}
}
