// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// goBenchCount is the number of runs of each benchmark. benchstat needs as many to distinguish a difference from noise.
const goBenchCount = 6

// goBenchmarks runs the Go benchmarks, and leaves their output in bin/bench-go.txt for benchstat.
func goBenchmarks(ctx context.Context, _ *world, r *report) {
	root := framework.MustGet(framework.Root())
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Encode|Decode|Encrypt|Decrypt)$",
		"-count", strconv.Itoa(goBenchCount), "./internal/teamtalk/pdu", "./internal/teamtalk/cipher")
	cmd.Dir = root
	say("go: %s", strings.Join(cmd.Args, " "))
	out, err := cmd.CombinedOutput()
	framework.Mustf(err, "run the Go benchmarks: %s", out)
	bin := filepath.Join(root, "bin")
	framework.Must(os.MkdirAll(bin, 0o755))
	framework.Must(os.WriteFile(filepath.Join(bin, "bench-go.txt"), out, 0o644))
	for _, name := range []string{"Encode", "Decode", "Encrypt", "Decrypt"} {
		took := nsPerOp(out, name)
		if len(took) != goBenchCount {
			framework.Failf("the Go benchmarks show %s %d times, want %d:\n%s", name, len(took), goBenchCount, out)
		}
		r.add(strings.ToLower(name)+"_ns", median(took), 0)
	}
}

// nsPerOp reads a benchmark's times from the output of go test.
func nsPerOp(out []byte, name string) []float64 {
	line := regexp.MustCompile(`(?m)^Benchmark` + name + `(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)
	var all []float64
	for _, m := range line.FindAllSubmatch(bytes.TrimSpace(out), -1) {
		if v, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
			all = append(all, v)
		}
	}
	return all
}
