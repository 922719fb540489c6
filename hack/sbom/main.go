// Command sbom completes lists of what is in a program, in CycloneDX's JSON, by the
// licences that are in no module: Go's own and this project's. It fails where another
// one has none. It runs in "make sbom":
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
	// ofProject is the licence of this project: LICENSE.
	ofProject = "Apache-2.0"
	// ofGo is that of Go's own packages, which are part of every program.
	ofGo = "BSD-3-Clause"
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
	if b, err = complete(b); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// component is one entry of the list; what else is in it is left as it is.
type component = map[string]any

func complete(b []byte) ([]byte, error) {
	var bom map[string]any
	if err := json.Unmarshal(b, &bom); err != nil {
		return nil, err
	}
	metadata, _ := bom["metadata"].(map[string]any)
	program, ok := metadata["component"].(component)
	if !ok {
		return nil, errors.New("it does not say which program it is of")
	}
	license(program, ofProject)
	components, _ := bom["components"].([]any)
	if len(components) == 0 {
		return nil, errors.New("it lists nothing")
	}
	var without []string
	for _, c := range components {
		c, _ := c.(component)
		if c["name"] == "std" {
			license(c, ofGo)
		}
		evidence, _ := c["evidence"].(map[string]any)
		if c["licenses"] == nil && evidence["licenses"] == nil {
			without = append(without, fmt.Sprintf("%v %v", c["name"], c["version"]))
		}
	}
	if len(without) > 0 {
		return nil, fmt.Errorf("no licence was found of %s: look at these modules before they are used",
			strings.Join(without, ", "))
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(bom)
	return out.Bytes(), err
}

func license(c component, id string) {
	c["licenses"] = []any{map[string]any{"license": map[string]any{"id": id}}}
}
