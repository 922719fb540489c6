// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"os"
	"testing"
)

func TestReadMemory(t *testing.T) {
	const size = 64 << 20
	before, err := ReadMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	held := bytes.Repeat([]byte{1}, size)
	after, err := ReadMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.Current < before.Current+size/2 || after.Peak < after.Current || held[size-1] != 1 {
		t.Errorf("%s, then %s, with %d MiB more", before, after, size>>20)
	}
	if _, err := ReadMemory(0); err == nil {
		t.Error("there is no process 0")
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, path := range [][]string{nil, {"gateway"}} {
		if limit, err := MemoryLimit(path...); err != nil || limit < 64<<20 || limit > 1<<30 {
			t.Errorf("%v: %d, %v", path, limit, err)
		}
	}
	if _, err := MemoryLimit("nothing"); err == nil {
		t.Error("a limit that the chart does not have")
	}
}
