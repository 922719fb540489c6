// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// specDigest identifies the recipients, sender, server, key and content of a message. The order of ids and names does
// not change it.
func specDigest(m *v1alpha1.TeamTalkMessage) string {
	decides := struct {
		To       v1alpha1.Recipients
		Content  v1alpha1.Content
		LongText v1alpha1.LongText
		Sender   *v1alpha1.UserID
		Server   string
		Key      string
	}{
		v1alpha1.Recipients{
			Users:  slices.Sorted(slices.Values(m.Spec.To.Users)),
			Groups: slices.Sorted(slices.Values(m.Spec.To.Groups)),

			UserNames:  slices.Sorted(slices.Values(m.Spec.To.UserNames)),
			GroupNames: slices.Sorted(slices.Values(m.Spec.To.GroupNames)),
			GroupRefs: slices.SortedFunc(slices.Values(m.Spec.To.GroupRefs), func(a, b v1alpha1.GroupReference) int {
				return cmp.Compare(a.Name, b.Name)
			}),
		},
		m.Spec.Content, m.Spec.LongText, m.Spec.SenderID, m.ServerKey().String(), m.Spec.IdempotencyKey,
	}
	return digestOf(decides)
}

// contentDigest identifies the content. A message whose content changes is sent to all recipients.
func contentDigest(m *v1alpha1.TeamTalkMessage) string {
	return digestOf(struct {
		Content  v1alpha1.Content
		LongText v1alpha1.LongText
	}{m.Spec.Content, m.Spec.LongText})
}

func digestOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // Unreachable: the API server has parsed content.json.
	}
	digest := cipher.Digest(b)
	return hex.EncodeToString(digest[:])
}
