// SPDX-License-Identifier: Apache-2.0

// Command sbom adds the licences of Go and of this project to CycloneDX files in JSON. It
// fails if another component has no licence. "make sbom" runs it:
//
//	go run ./hack/sbom bin/sbom/*.cdx.json
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	projectLicense = "Apache-2.0"
	goLicense      = "BSD-3-Clause" // of Go's standard library
)

func main() {
	for _, file := range os.Args[1:] {
		if err := run(file); err != nil {
			fmt.Fprintf(os.Stderr, "sbom: %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

func run(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if b, err = addLicenses(b); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

func addLicenses(b []byte) ([]byte, error) {
	var bom map[string]any
	if err := json.Unmarshal(b, &bom); err != nil {
		return nil, err
	}
	metadata, _ := bom["metadata"].(map[string]any)
	program, ok := metadata["component"].(map[string]any)
	if !ok {
		return nil, errors.New("the program is missing: metadata.component")
	}
	setLicense(program, projectLicense)
	components, _ := bom["components"].([]any)
	if len(components) == 0 {
		return nil, errors.New("there are no components")
	}
	var without []string
	for _, c := range components {
		c, _ := c.(map[string]any)
		if c["name"] == "std" {
			setLicense(c, goLicense)
		}
		evidence, _ := c["evidence"].(map[string]any)
		if c["licenses"] == nil && evidence["licenses"] == nil {
			without = append(without, fmt.Sprintf("%v %v", c["name"], c["version"]))
		}
	}
	if len(without) > 0 {
		return nil, fmt.Errorf("no licence found for %s: check these modules before you use them",
			strings.Join(without, ", "))
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(bom)
	return out.Bytes(), err
}

func setLicense(c map[string]any, id string) {
	c["licenses"] = []any{map[string]any{"license": map[string]any{"id": id}}}
}
