// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// released is the text of the sample, and corrected what it is edited to.
const (
	released  = "Release 1.4.0 is out"
	corrected = "Release 1.4.0 is out, at last"
)

// newcomer is a user who does not exist at first.
const newcomer = 700_000

// repository is a message in Git, and the tool that applies it.
type repository struct {
	*tenant
	tool
	// manifest is as the message was at first.
	manifest *unstructured.Unstructured
}

// step is what somebody does in Git, until the tool and the operator have done what follows.
type step func(*repository)

// commit commits the message with edits.
func commit(edits ...manifestEdit) step {
	return func(r *repository) {
		r.Helper()
		o := edited(r.manifest, edits...)
		r.Must(r.sync(r.Context(), o))
		r.awaitEnd(o)
	}
}

// forced commits the message with edits, and has the tool replace it if they are refused.
func forced(edits ...manifestEdit) step {
	return func(r *repository) {
		r.Helper()
		commit(append(edits, r.forced())...)(r)
	}
}

// refused commits an edit that the API server refuses.
func refused(edits ...manifestEdit) step {
	return func(r *repository) {
		r.Helper()
		before := r.live(r.manifest)
		err := r.sync(r.Context(), edited(r.manifest, edits...))
		if err == nil || !strings.Contains(err.Error(), "create a TeamTalkMessage with another name") {
			r.Fatalf("refused with %v, which does not say what to do", err)
		}
		if after := r.live(r.manifest); after.GetResourceVersion() != before.GetResourceVersion() {
			r.Errorf("the message was changed: %v", after)
		}
	}
}

// remove removes the message from Git.
func remove(r *repository) {
	r.Helper()
	r.Must(r.sync(r.Context()))
	r.Eventually("the message is still there", func() bool { return r.live(r.manifest) == nil })
}

// inGit says what the table "A message in Git" of docs/how-to/gitops.md says.
var inGit = map[string]struct {
	steps []step
	// forces is true for tools that can replace refused objects. unkeyed: it does not go with a key.
	forces, unkeyed bool
	// want and wantKeyed are the texts in the store, without and with an idempotencyKey.
	want, wantKeyed []string
}{
	"applied again": {
		steps: []step{commit(), commit()},
		want:  []string{released}, wantKeyed: []string{released},
	},
	"labels and annotations": {
		steps: []step{commit(), commit(labelled("team", "chat"), annotated("note", "1"))},
		want:  []string{released}, wantKeyed: []string{released},
	},
	"removed": {
		steps: []step{commit(), remove},
		want:  []string{released}, wantKeyed: []string{released},
	},
	"removed and added again": {
		steps: []step{commit(), remove, commit()},
		want:  []string{released, released}, wantKeyed: []string{released},
	},
	"edited": {
		steps: []step{commit(), refused(text(corrected)), commit()},
		want:  []string{released}, wantKeyed: []string{released},
	},
	"edited and rolled back with Resend": {
		unkeyed: true,
		steps:   []step{commit(resend), commit(resend, text(corrected)), commit(resend, text(corrected), labelled("team", "chat")), commit(resend)},
		want:    []string{released, corrected, released},
	},
	"edited while Resend is set": {
		unkeyed: true, steps: []step{commit(), commit(resend, text(corrected)), commit(resend, text(corrected))},
		want: []string{released, corrected},
	},
	"edited with another name": {
		steps: []step{commit(), commit(set("release-1.4.0-corrected", "metadata", "name"), text(corrected))},
		want:  []string{released, corrected}, wantKeyed: []string{released},
	},
	"edited with another name and key": {
		steps: []step{commit(), commit(set("release-1.4.0-corrected", "metadata", "name"), text(corrected),
			set("release-1.4.0-corrected", "spec", "idempotencyKey"))},
		want: []string{released, corrected}, wantKeyed: []string{released, corrected},
	},
	"replaced by force after an edit": {
		forces: true, steps: []step{forced(), forced(text(corrected))},
		want: []string{released, corrected}, wantKeyed: []string{released},
	},
	"force without an edit": {
		forces: true, steps: []step{forced(), forced(), forced(labelled("team", "chat"))},
		want: []string{released}, wantKeyed: []string{released},
	},
	"rolled back by force": {
		forces: true, steps: []step{forced(), forced(text(corrected)), forced()},
		want: []string{released, corrected, released}, wantKeyed: []string{released},
	},
	"edited after it failed": {
		steps: []step{commit(to(newcomer)), commit(text(corrected))},
		want:  []string{corrected}, wantKeyed: []string{corrected},
	},
	"retried after it failed": {
		steps: []step{
			commit(to(newcomer + 1)),
			func(r *repository) { r.Must(r.TeamTalk.AddUser(framework.User(newcomer + 1))) },
			commit(to(newcomer+1), labelled("team", "chat")),
			commit(to(newcomer+1), annotated(v1alpha1.RetryAnnotation, "1")),
			commit(to(newcomer+1), annotated(v1alpha1.RetryAnnotation, "2")),
		},
		want: []string{released}, wantKeyed: []string{released},
	},
	"added again after its deadline": {
		steps: []step{commit(), remove, commit(set("2026-01-01T00:00:00Z", "spec", "deadline"))},
		want:  []string{released}, wantKeyed: []string{released},
	},
	"created again after its TTL": {
		steps: []step{commit(ttl), awaitEvent("RecreatedByGitOps"), commit(ttl), commit(ttl)},
		want:  []string{released}, wantKeyed: []string{released},
	},
	"edited after its TTL": {
		steps: []step{commit(ttl), commit(ttl, text(corrected)), commit(ttl)},
		want:  []string{released, corrected}, wantKeyed: []string{released},
	},
	"edited with a TTL that was added when it was delivered": {
		steps: []step{commit(), commit(ttl), commit(text(corrected))},
		want:  []string{released, corrected}, wantKeyed: []string{released},
	},
}

func ttl(o *unstructured.Unstructured) { set(int64(1), "spec", "ttlSecondsAfterFinished")(o) }

func resend(o *unstructured.Unstructured) { set("Resend", "spec", "onChange")(o) }

func awaitEvent(reason string) step {
	return func(r *repository) { r.AwaitEvent(r.manifest.GetName(), reason) }
}

func (x *tenant) repository(newTool func(*tenant) tool, edits ...manifestEdit) *repository {
	x.Helper()
	return &repository{x, newTool(x), edited(x.sample("announcements/release-1.4.0.yaml")[0], edits...)}
}

// TestMessageInGit changes a message in Git, with and without an idempotencyKey, and counts the sent messages.
func TestMessageInGit(t *testing.T) {
	t.Parallel()
	for toolName, newTool := range tools {
		t.Run(toolName, func(t *testing.T) {
			t.Parallel()
			for name, tc := range inGit {
				for key, want := range map[string][]string{"key": tc.wantKeyed, "no key": tc.want} {
					if tc.unkeyed && key == "key" || tc.forces && toolName == withoutForce {
						continue
					}
					t.Run(name+"/"+key, func(t *testing.T) {
						t.Parallel()
						r := newTenantWithServer(t).repository(newTool)
						if key == "no key" {
							withoutKey(r.manifest)
						}
						for _, step := range tc.steps {
							step(r)
						}
						r.checkTexts(want...)
					})
				}
			}
		})
	}
}
