// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"sort"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

const (
	// maxNameLen is longer, in bytes, than any name in the API.
	maxNameLen = 1 << 10
	// maxTableBytes limits the size of a table. A table of 20,000 users with names of 12 bytes has half a megabyte.
	maxTableBytes = 4 << 20
)

// errTableFull reports that a directory is too large to be held.
var errTableFull = errors.New("too many names")

// nameTable finds ids by name. It holds all names in one buffer: a map of strings takes five times as much memory.
type nameTable struct {
	names   []byte
	entries []nameEntry
	full    bool
}

// nameEntry is a name's place in the table.
type nameEntry struct {
	start, length, id uint32
}

const entryBytes = 12

var _ dbproxy.UserScanner = (*nameTable)(nil)

// Begin implements dbproxy.UserScanner.
func (t *nameTable) Begin() { *t = nameTable{names: t.names[:0], entries: t.entries[:0]} }

// User implements dbproxy.UserScanner.
func (t *nameTable) User(id uint32, name []byte) { t.add(id, name) }

func (t *nameTable) add(id uint32, name []byte) {
	if id == 0 || len(name) == 0 || len(name) > maxNameLen {
		return // it cannot be requested
	}
	if t.full = t.full || len(t.names)+len(name)+entryBytes*len(t.entries) > maxTableBytes; t.full {
		return
	}
	t.entries = append(t.entries, nameEntry{uint32(len(t.names)), uint32(len(name)), id})
	t.names = append(t.names, name...)
}

func (t *nameTable) name(e nameEntry) []byte { return t.names[e.start : e.start+e.length] }

// finish sorts the table, and releases unused memory.
func (t *nameTable) finish() error {
	if t.full {
		return errTableFull
	}
	t.names, t.entries = bytes.Clone(t.names), slices.Clip(slices.Clone(t.entries))
	slices.SortFunc(t.entries, func(a, b nameEntry) int {
		return cmp.Or(bytes.Compare(t.name(a), t.name(b)), cmp.Compare(a.id, b.id))
	})
	return nil
}

// find returns the ids that have exactly the name.
func (t *nameTable) find(name string) (ids []uint32) {
	want := []byte(name)
	first := sort.Search(len(t.entries), func(i int) bool { return bytes.Compare(t.name(t.entries[i]), want) >= 0 })
	for _, e := range t.entries[first:] {
		if !bytes.Equal(t.name(e), want) {
			break
		}
		if len(ids) == 0 || ids[len(ids)-1] != e.id {
			ids = append(ids, e.id)
		}
	}
	return ids
}
