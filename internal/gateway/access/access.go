// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"context"
	"net/http"
	"strings"
)

// Caller is a caller who was admitted.
type Caller struct {
	// Name identifies the caller in the log and for the limit per caller.
	Name string `json:"-"`
	// Namespace of the caller's messages.
	Namespace string `json:"namespace"`
	// Server in the namespace. If empty, it is the default one.
	Server string `json:"server,omitempty"`
	// Senders that the caller may speak as. If nil, only the TeamTalkServer limits them.
	Senders []uint32 `json:"senders"`
}

// Denial is why a caller was not admitted. It does not reveal which objects exist.
type Denial struct {
	Kind   Kind
	Detail string
}

// Kind of a Denial.
type Kind int

// Kinds of a Denial.
const (
	Unauthenticated Kind = iota // the request has no valid token
	Forbidden                   // the token's user does not have the right
	UnknownKey                  // the app_key is not in the Secret
	NoGroups                    // the app_key is for messages only
	WrongNamespace              // the app_key is for another namespace
	Unavailable                 // the check failed
)

// Right is a verb on a resource of the API's group, which a caller needs in the namespace.
type Right struct{ Verb, Resource string }

// Permissions that operations need. Groups of TeamTalk need permissions for TeamTalkGroups: the permission to send
// messages does not include that to change groups.
var (
	SendMessages = Right{"create", "teamtalkmessages"}
	CreateGroups = Right{"create", "teamtalkgroups"}
	ChangeGroups = Right{"update", "teamtalkgroups"}
)

// Guard admits callers.
type Guard struct {
	// Reviewer of tokens. If nil, all callers are admitted: for a listener on loopback only.
	Reviewer *Reviewer
	// Keys are the app_keys. If nil, no app_key is accepted.
	Keys *AppKeys
	// Namespace of callers that name none.
	Namespace string
}

// NeedsAppKey reports whether the app_key in the body decides on the request.
func (g *Guard) NeedsAppKey(r *http.Request) bool {
	return g.Reviewer != nil && g.Keys != nil && r.Header.Get("Authorization") == ""
}

// Admit decides on a request that needs a right. appKey is from its body, namespace from its path. Both may be empty.
func (g *Guard) Admit(r *http.Request, right Right, appKey, namespace string) (Caller, *Denial) {
	header := r.Header.Get("Authorization")
	switch {
	case g.Reviewer == nil:
		return Caller{Name: "loopback", Namespace: cmp.Or(namespace, g.Namespace)}, nil
	case header != "":
		return g.admitToken(r.Context(), header, right, cmp.Or(namespace, g.Namespace))
	case g.Keys == nil:
		return Caller{}, &Denial{Unauthenticated, "send a Kubernetes token: Authorization: Bearer TOKEN"}
	case appKey == "":
		return Caller{}, &Denial{UnknownKey, "send an app_key, or a Kubernetes token: Authorization: Bearer TOKEN"}
	}
	return g.Keys.admit(right, appKey, namespace)
}

// BearerToken returns the token of an Authorization header, or "".
func BearerToken(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func (g *Guard) admitToken(ctx context.Context, header string, right Right, namespace string) (Caller, *Denial) {
	token := BearerToken(header)
	if token == "" {
		return Caller{}, &Denial{Unauthenticated, "the Authorization header must be: Bearer TOKEN"}
	}
	user, denial := g.Reviewer.Token(ctx, token)
	if denial == nil {
		denial = g.Reviewer.May(ctx, user, right, namespace)
	}
	if denial != nil {
		return Caller{}, denial
	}
	return Caller{Name: user.GetName(), Namespace: namespace}, nil
}
