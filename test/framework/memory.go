// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Memory is the resident memory of a process, in bytes.
type Memory struct{ Current, Peak int64 }

// String returns both in MiB.
func (m Memory) String() string {
	return fmt.Sprintf("%d MiB, at most %d MiB", m.Current>>20, m.Peak>>20)
}

// ReadMemory reads the resident memory of a process from /proc.
func ReadMemory(pid int) (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of a process: %w", err)
	}
	var m Memory
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		to := map[string]*int64{"VmRSS": &m.Current, "VmHWM": &m.Peak}[name]
		if to == nil {
			continue
		}
		if _, err := fmt.Sscanf(value, "%d kB", to); err != nil {
			return Memory{}, fmt.Errorf("read the memory of a process: %q: %w", line, err)
		}
		*to <<= 10
	}
	if m.Current == 0 || m.Peak == 0 {
		return Memory{}, fmt.Errorf("read the memory of a process: process %d has none", pid)
	}
	return m, nil
}

// Memory reads the resident memory of the process.
func (p *Process) Memory() (Memory, error) { return ReadMemory(p.Pid()) }

// MemoryLimit returns the limit, in bytes, that the chart sets for a container. path leads to its resources in the
// chart's values, such as "gateway", and is empty for the operator.
func MemoryLimit(path ...string) (int64, error) {
	root, err := Root()
	if err != nil {
		return 0, err
	}
	values, err := Read(filepath.Join(root, "charts", "teamtalk-operator", "values.yaml"))
	if err != nil {
		return 0, err
	}
	path = append(path, "resources", "limits", "memory")
	limit, _, err := unstructured.NestedString(values[0].Object, path...)
	if err != nil {
		return 0, fmt.Errorf("read the chart's limit of memory: %w", err)
	}
	q, err := resource.ParseQuantity(limit)
	if err != nil {
		return 0, fmt.Errorf("read the chart's limit of memory at %s: %w", strings.Join(path, "."), err)
	}
	return q.Value(), nil
}
