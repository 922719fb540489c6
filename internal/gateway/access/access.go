// Package access decides who may use the gateway. Kubernetes does: a bearer token is
// reviewed, and its owner must be allowed to create TeamTalkMessages in the
// namespace, or to change groups. Callers that can send no more than http_msg_server's app_key are
// known by a Secret. On loopback alone, all may be let in.
package access

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// Caller is somebody who was let in.
type Caller struct {
	// Name is for the log.
	Name string
	// Namespace whose messages the caller's are.
	Namespace string
	// Server in it; empty: the default one.
	Server string
	// Senders that the caller may speak as; nil: whichever the server permits.
	Senders []int64
}

// MaySpeakAs reports whether the caller's messages may bear the sender.
func (c Caller) MaySpeakAs(sender int64) bool {
	return c.Senders == nil || slices.Contains(c.Senders, sender)
}

// Denial is why somebody was not let in; it reveals nothing of what exists.
type Denial struct {
	Kind   Kind
	Detail string
}

// Kind of a Denial.
type Kind int

// Kinds of denials.
const (
	// NoCredentials: neither a token nor a key that could be asked about came along.
	NoCredentials Kind = iota
	// BadToken: the token is nobody's.
	BadToken
	// Forbidden: its owner may not create messages there.
	Forbidden
	// UnknownKey: the app_key is nobody's.
	UnknownKey
	// NoGroups: the app_key is for messages alone.
	NoGroups
	// WrongNamespace: the app_key is for another namespace.
	WrongNamespace
	// Unavailable: Kubernetes could not be asked.
	Unavailable
)

// Right is what a caller must be allowed to do in the namespace, to one of the
// resources of the API's group.
type Right struct{ Verb, Resource string }

// Rights that the endpoints ask for. TeamTalkGroups stand for TeamTalk's own groups:
// who may write messages need not be allowed to change who reads them.
var (
	SendMessages = Right{"create", "teamtalkmessages"}
	CreateGroups = Right{"create", "teamtalkgroups"}
	ChangeGroups = Right{"update", "teamtalkgroups"}
)

// Reviewer asks Kubernetes; see NewReviewer.
type Reviewer interface {
	// Token returns who bears the token.
	Token(ctx context.Context, token string) (User, *Denial)
	// May says why the user may not do it in the namespace; nil: may.
	May(ctx context.Context, user User, right Right, namespace string) *Denial
	// MayGet says why the user may not get the path of a URL; nil: may.
	MayGet(ctx context.Context, user User, path string) *Denial
}

// Guard lets callers in or not.
type Guard struct {
	// Reviewer of tokens; nil: everybody is let in. Only for a listener on loopback.
	Reviewer Reviewer
	// Keys are the app_keys; nil: none are taken.
	Keys *AppKeys
	// Namespace of callers that name none.
	Namespace string
}

// AsksForKey reports whether the app_key in a request's body decides on it.
func (g *Guard) AsksForKey(r *http.Request) bool {
	return g.Reviewer != nil && g.Keys != nil && r.Header.Get("Authorization") == ""
}

// Admit decides on a request that needs a right. appKey is what came along in its body, namespace what
// its path names; both may be empty.
func (g *Guard) Admit(r *http.Request, right Right, appKey, namespace string) (Caller, *Denial) {
	wanted := namespace
	if wanted == "" {
		wanted = g.Namespace
	}
	if g.Reviewer == nil {
		return Caller{Name: "loopback", Namespace: wanted}, nil
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return Caller{}, &Denial{NoCredentials, "the Authorization header must be: Bearer TOKEN"}
		}
		user, denial := g.Reviewer.Token(r.Context(), token)
		if denial != nil {
			return Caller{}, denial
		}
		if denial := g.Reviewer.May(r.Context(), user, right, wanted); denial != nil {
			return Caller{}, denial
		}
		return Caller{Name: user.GetName(), Namespace: wanted}, nil
	}
	switch {
	case g.Keys == nil:
		return Caller{}, &Denial{NoCredentials, "send a Kubernetes token: Authorization: Bearer TOKEN"}
	case appKey == "":
		return Caller{}, &Denial{UnknownKey, "send an app_key, or a Kubernetes token: Authorization: Bearer TOKEN"}
	}
	return g.Keys.admit(right, appKey, namespace)
}
