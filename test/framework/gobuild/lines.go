// SPDX-License-Identifier: Apache-2.0

package gobuild

import "bytes"

// Lines is a Writer that calls Take with each complete line, without its newline.
type Lines struct {
	Take func(line string)
	rest []byte
}

func (l *Lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.Take(string(bytes.TrimRight(l.rest[:i], "\r")))
		l.rest = l.rest[i+1:]
	}
}
