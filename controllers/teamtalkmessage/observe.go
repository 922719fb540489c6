package teamtalkmessage

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Recorded is a status that has been written.
type Recorded struct {
	Message *v1alpha1.TeamTalkMessage
	// Server names the TeamTalkServer that the message was to go through; empty
	// where none was found: what users write there is theirs to choose.
	Server types.NamespacedName
	// Began and Written are when the write began and was done, by this process's clock.
	Began, Written time.Time
	// Finished: it is the one that shows the message's end.
	Finished bool
	// Ended are the recipients whose end it is the first to show.
	Ended []v1alpha1.RecipientStatus
}

// observe tells of a status that has been written.
func (r *Reconciler) observe(before *v1alpha1.TeamTalkMessage, s *scope, began time.Time) {
	if r.Observe == nil {
		return
	}
	r.Observe(Recorded{
		Message: s.message, Server: s.serverKey, Began: began, Written: time.Now(),
		Finished: s.message.Finished() && !before.Finished(),
		Ended:    ended(before.Status.Recipients, s.message.Status.Recipients),
	})
}

// ended returns those of after that have come to their end since before. One that
// was tried again in between has, too.
func ended(before, after []v1alpha1.RecipientStatus) []v1alpha1.RecipientStatus {
	type recipient struct {
		typ v1alpha1.RecipientType
		id  int64
	}
	was := make(map[recipient]v1alpha1.RecipientStatus, len(before))
	for _, r := range before {
		was[recipient{r.Type, r.ID}] = r
	}
	var now []v1alpha1.RecipientStatus
	for _, r := range after {
		b := was[recipient{r.Type, r.ID}]
		if over(r) && (!over(b) || b.Attempts != r.Attempts) {
			now = append(now, r)
		}
	}
	return now
}

// over reports whether nothing more is tried for the recipient.
func over(r v1alpha1.RecipientStatus) bool {
	return r.State == v1alpha1.StateFailed || r.State == v1alpha1.StateRouted || r.Reason == v1alpha1.ReasonStoredNotRouted
}
