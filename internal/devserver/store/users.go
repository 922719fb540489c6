// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
)

// User is a user's record.
type User struct {
	ID         uint32
	Gender     uint32 // 1 male, 2 female, 0 not set
	Nick       string
	Avatar     string
	Department uint32
	Email      string
	Name       string // TeamTalk sends it as the real name
	Tel        string
	Domain     string
	Status     uint32
	Sign       string
	// Messages counts the stored messages of the user's single chats.
	Messages int
}

const userColumns = `id, gender, nick, avatar, department, email, name, tel, domain, status, sign`

// Users returns the users with the ids, by id. If ids is nil, it returns all users. Unknown ids are left out.
func (s *Store) Users(ids []uint32) (users []User, err error) {
	err = s.read(func() error {
		users = nil
		scan := func(scan func(...any) error) error {
			var u User
			if err := scan(&u.ID, &u.Gender, &u.Nick, &u.Avatar, &u.Department, &u.Email, &u.Name,
				&u.Tel, &u.Domain, &u.Status, &u.Sign, &u.Messages); err != nil {
				return err
			}
			users = append(users, u)
			return nil
		}
		if ids == nil {
			return s.rows(scan, `SELECT `+userColumns+`, coalesce((SELECT sum(stored) FROM conversations
				WHERE kind = 1 AND (low = users.id OR high = users.id)), 0) FROM users ORDER BY id`)
		}
		for _, id := range SortedSet(ids) {
			if err := s.rows(scan, `SELECT `+userColumns+`, 0 FROM users WHERE id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
	return users, err
}

// AddUsers stores or replaces users.
func (s *Store) AddUsers(users ...User) error {
	return s.write(func() error {
		for _, u := range users {
			if err := s.exec(`INSERT OR REPLACE INTO users (`+userColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				u.ID, u.Gender, u.Nick, u.Avatar, u.Department, u.Email, u.Name, u.Tel, u.Domain, u.Status, u.Sign); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveUser removes a user's record. Memberships and messages remain.
func (s *Store) RemoveUser(id uint32) error {
	return s.write(func() error { return s.exec(`DELETE FROM users WHERE id = ?`, id) })
}

// Empty reports whether the store has no users and no groups.
func (s *Store) Empty() (empty bool, err error) {
	err = s.read(func() error {
		_, err := s.row([]any{&empty}, `SELECT NOT EXISTS (SELECT 1 FROM users) AND NOT EXISTS (SELECT 1 FROM groups)`)
		return err
	})
	return empty, err
}

func sortNewest(messages []Message) {
	slices.SortFunc(messages, func(a, b Message) int {
		return cmp.Or(cmp.Compare(b.CreateTime, a.CreateTime), cmp.Compare(b.Row, a.Row))
	})
}
