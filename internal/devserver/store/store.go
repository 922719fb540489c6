// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver
)

// ContentLimit is the length in characters of TeamTalk's column for message texts.
const ContentLimit = 4096

// batchLimit bounds how many requests share one transaction.
const batchLimit = 256

// ErrClosed reports a request to a store that is closing.
var ErrClosed = errors.New("the message store is closed")

// Options of a Store.
type Options struct {
	// File holds the database. If empty, it is in memory.
	File string
	// LaxSQL truncates values that are too long for their columns, as MySQL does outside of strict mode. Otherwise they
	// are refused.
	LaxSQL bool
	// Now is the clock of the database. If nil, it is time.Now.
	Now func() time.Time
	// Changed is called after every commit that changed something; it must not block.
	Changed func()
}

// Store is the database. All of its work runs on one goroutine and one connection, because an in-memory SQLite database
// belongs to its connection. Waiting requests share a transaction, which makes a file on disk fast enough.
type Store struct {
	options Options
	db      *sql.DB
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt // used by the worker alone

	mu      sync.RWMutex // guards closed, and with it sending on jobs
	closed  bool
	jobs    chan *job
	stopped chan struct{}
}

// job is one unit of work. It may run twice: in a batch, and alone if the batch failed. So it assigns its results and
// never appends to them.
type job struct {
	run    func() error
	writes bool
	done   chan error // nil if no caller waits
}

// Open opens or creates the database.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	db, err := sql.Open("sqlite", dsn(o.File))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	conn, err := prepare(db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.Close())
	}
	s := &Store{
		options: o, db: db, conn: conn, stmts: map[string]*sql.Stmt{},
		jobs: make(chan *job, batchLimit), stopped: make(chan struct{}),
	}
	go s.work()
	return s, nil
}

// dsn names the database with settings that favour speed: a development
// server's messages may be lost with the machine, not with the process.
func dsn(file string) string {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(5000)")
	if file == "" {
		q.Add("_pragma", "synchronous(OFF)")
		q.Add("_pragma", "journal_mode(MEMORY)")
		q.Add("_pragma", "temp_store(MEMORY)")
		return "file::memory:?" + q.Encode()
	}
	q.Add("_pragma", "synchronous(NORMAL)")
	q.Add("_pragma", "journal_mode(WAL)")
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func prepare(db *sql.DB) (*sql.Conn, error) {
	db.SetMaxOpenConns(1)
	db.SetConnMaxLifetime(0)
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(context.Background(), schema); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Close ends the store after its accepted work is done.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	if !already {
		close(s.jobs)
	}
	s.mu.Unlock()
	<-s.stopped
	if already {
		return nil
	}
	var errs []error
	for _, stmt := range s.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, s.conn.Close(), s.db.Close())...)
}

func (s *Store) read(run func() error) error  { return s.do(run, false) }
func (s *Store) write(run func() error) error { return s.do(run, true) }

func (s *Store) do(run func() error, writes bool) error {
	j := &job{run: run, writes: writes, done: make(chan error, 1)}
	if err := s.submit(j); err != nil {
		return err
	}
	return <-j.done
}

// submit queues a job. Jobs run in the order in which they were submitted.
func (s *Store) submit(j *job) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	s.jobs <- j
	return nil
}

func (s *Store) work() {
	defer close(s.stopped)
	batch := make([]*job, 0, batchLimit)
	for j := range s.jobs {
		batch = append(batch[:0], j)
		for more := true; more && len(batch) < batchLimit; {
			select {
			case next, ok := <-s.jobs:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		s.runBatch(batch)
	}
}

// runBatch runs jobs in one transaction; where that fails, each in its own.
func (s *Store) runBatch(batch []*job) {
	err := s.transact(batch)
	if err != nil && len(batch) > 1 {
		for _, j := range batch {
			s.runBatch([]*job{j})
		}
		return
	}
	changed := false
	for _, j := range batch {
		changed = changed || j.writes && err == nil
		if j.done != nil {
			j.done <- err
		}
	}
	if changed {
		s.options.Changed()
	}
}

func (s *Store) transact(batch []*job) error {
	if err := s.exec("BEGIN"); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	for _, j := range batch {
		if err := j.run(); err != nil {
			return errors.Join(err, s.exec("ROLLBACK"))
		}
	}
	if err := s.exec("COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("commit transaction: %w", err), s.exec("ROLLBACK"))
	}
	return nil
}

// stmt returns the prepared statement for a query. Only the worker calls it.
func (s *Store) stmt(query string) (*sql.Stmt, error) {
	if stmt, ok := s.stmts[query]; ok {
		return stmt, nil
	}
	// Without a context that can end: the driver starts a goroutine per query
	// to watch one that can.
	stmt, err := s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", err)
	}
	s.stmts[query] = stmt
	return stmt, nil
}

func (s *Store) exec(query string, args ...any) error {
	_, err := s.execCount(query, args...)
	return err
}

func (s *Store) execCount(query string, args ...any) (int64, error) {
	stmt, err := s.stmt(query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.Exec(args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row scans the first row of a query. It returns false if there is none.
func (s *Store) row(dest []any, query string, args ...any) (bool, error) {
	stmt, err := s.stmt(query)
	if err != nil {
		return false, err
	}
	err = stmt.QueryRow(args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// rows calls scan for every row of a query.
func (s *Store) rows(scan func(scan func(...any) error) error, query string, args ...any) (err error) {
	stmt, err := s.stmt(query)
	if err != nil {
		return err
	}
	rows, err := stmt.Query(args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
