// SPDX-License-Identifier: Apache-2.0

package inbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
)

const (
	// streamEvery is how often a stream reports changes at most.
	streamEvery = 250 * time.Millisecond
	// keepAliveEvery shows that a stream without changes is alive.
	keepAliveEvery = 15 * time.Second
)

type userJSON struct {
	ID       uint32 `json:"id"`
	Nick     string `json:"nick"`
	Name     string `json:"name"`
	Messages int    `json:"messages"`
}

type groupJSON struct {
	ID       uint32   `json:"id"`
	Name     string   `json:"name"`
	Members  []uint32 `json:"members"`
	Messages int      `json:"messages"`
}

type conversationJSON struct {
	Session  string `json:"session"`
	Messages int    `json:"messages"`
}

func (i *Inbox) readUsers() ([]userJSON, error) {
	users, err := i.options.Reader.Users(nil)
	list := make([]userJSON, 0, len(users))
	for _, u := range users {
		list = append(list, userJSON{u.ID, u.Nick, u.Name, u.Messages})
	}
	return list, err
}

func (i *Inbox) readGroups() ([]groupJSON, error) {
	groups, err := i.options.Reader.Groups(nil)
	list := make([]groupJSON, 0, len(groups))
	for _, g := range groups {
		list = append(list, groupJSON{g.ID, g.Name, append([]uint32{}, g.Members...), g.Messages})
	}
	return list, err
}

func (i *Inbox) users(w http.ResponseWriter, _ *http.Request) {
	users, err := i.readUsers()
	i.replyOr(w, users, err)
}

func (i *Inbox) groups(w http.ResponseWriter, _ *http.Request) {
	groups, err := i.readGroups()
	i.replyOr(w, groups, err)
}

// overview is the content of the page without the conversation.
func (i *Inbox) overview(w http.ResponseWriter, _ *http.Request) {
	users, err := i.readUsers()
	if err != nil {
		i.replyOr(w, nil, err)
		return
	}
	groups, err := i.readGroups()
	if err != nil {
		i.replyOr(w, nil, err)
		return
	}
	all, err := i.options.Reader.Conversations()
	conversations, total := make([]conversationJSON, 0, len(all)), 0
	for _, c := range all {
		conversations = append(conversations, conversationJSON{c.Session.String(), c.Messages})
		total += c.Messages
	}
	i.replyOr(w, map[string]any{
		"users": users, "groups": groups, "conversations": conversations, "messages": total,
		"faults": faultsJSON(i.options.Faults),
	}, err)
}

// messages answers session=all, user:ID (all single chats of a user),
// user:ID:ID or group:ID; with limit, the last of them.
func (i *Inbox) messages(w http.ResponseWriter, r *http.Request) {
	limit := -1
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			fail(w, http.StatusBadRequest, "limit: want a positive number")
			return
		}
		limit = n
	}
	rows, err := i.options.Reader.rows(r.URL.Query().Get("session"), limit)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	messages, err := i.options.Reader.decrypt(rows())
	i.marks.show(messages)
	i.replyOr(w, messages, err)
}

// rows returns the query for a session as the API names it.
func (r *Reader) rows(session string, limit int) (func() ([]store.Message, error), error) {
	if session == "" || session == "all" {
		return func() ([]store.Message, error) { return r.Latest(limit) }, nil
	}
	if text, ok := strings.CutPrefix(session, "user:"); ok && !strings.Contains(text, ":") {
		user, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("session %q: want user:ID, user:ID:ID, group:ID or all", session)
		}
		return func() ([]store.Message, error) { return r.LatestWith(uint32(user), limit) }, nil
	}
	s, err := store.ParseSession(session)
	if err != nil {
		return nil, err
	}
	return func() ([]store.Message, error) { return r.LatestOf(s, limit) }, nil
}

// events streams "change" immediately, and after changes, at a limited rate.
func (i *Inbox) events(w http.ResponseWriter, r *http.Request) {
	select {
	case i.streams <- struct{}{}:
		defer func() { <-i.streams }()
	default:
		fail(w, http.StatusServiceUnavailable, "too many event streams")
		return
	}
	changes, stop := i.options.Changes.Watch()
	defer stop()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the stream outlives the request's limits
	w.Header().Set("Content-Type", "text/event-stream")
	say := func(event string) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write([]byte(event + "\n\n"))
		return err == nil && control.Flush() == nil
	}
	ticker := time.NewTicker(streamEvery)
	defer ticker.Stop()
	changed, said := true, time.Now()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-changes:
			changed = true
			continue
		case <-ticker.C:
		}
		var alive bool
		switch {
		case changed:
			alive = say("event: change\ndata: {}")
		case time.Since(said) >= keepAliveEvery:
			alive = say(": alive")
		default:
			continue
		}
		if !alive {
			return
		}
		changed, said = false, time.Now()
	}
}

// firedJSON is a fault as /api/faults lists it.
type firedJSON struct {
	Fault fault.Fault `json:"fault"`
	Fired int         `json:"fired"`
}

func faultsJSON(faults *fault.Set) map[string]any {
	list := []firedJSON{}
	for _, f := range faults.List() {
		list = append(list, firedJSON{f.Fault, f.Fired})
	}
	return map[string]any{"faults": list, "firedByKind": faults.Counts()}
}

func (i *Inbox) listFaults(w http.ResponseWriter, _ *http.Request) {
	reply(w, faultsJSON(i.options.Faults))
}

func (i *Inbox) setFaults(w http.ResponseWriter, r *http.Request) {
	var faults []fault.Fault
	i.changeFaults(w, r, &faults, func() error { return i.options.Faults.Set(faults...) })
}

func (i *Inbox) addFault(w http.ResponseWriter, r *http.Request) {
	var f fault.Fault
	i.changeFaults(w, r, &f, func() error {
		_, err := i.options.Faults.Add(f)
		return err
	})
}

func (i *Inbox) changeFaults(w http.ResponseWriter, r *http.Request, into any, change func() error) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := change(); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	i.listFaults(w, r)
}

func (i *Inbox) clearFaults(w http.ResponseWriter, r *http.Request) {
	i.options.Faults.Clear()
	i.listFaults(w, r)
}

func (i *Inbox) removeFault(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || !i.options.Faults.Remove(id) {
		fail(w, http.StatusNotFound, "no such fault")
		return
	}
	i.listFaults(w, r)
}

// replyOr replies with the value, or with the error where there is one.
func (i *Inbox) replyOr(w http.ResponseWriter, value any, err error) {
	if err != nil {
		i.options.Log.Error(err, "Cannot read the message store")
		fail(w, http.StatusInternalServerError, "cannot read the message store")
		return
	}
	reply(w, value)
}
