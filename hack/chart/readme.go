// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const head = `<!-- Written by "make chart" from values.yaml. -->
# teamtalk-operator

Installs the operator as ` + "`kubectl apply -k config/default`" + ` does, with options.
[Installing](../../docs/how-to/install.md) describes access to namespaces, upgrades and removal.

` + "```sh" + `
helm install teamtalk-operator charts/teamtalk-operator --namespace teamtalk-system --create-namespace \
  --set image.repository=registry.example.com/teamtalk-operator
` + "```" + `

## Values

| value | default | |
| --- | --- | --- |
`

// readme returns the chart's README. Each value, or a map that it is in, must have a comment
// in values.yaml.
func readme(values []byte) ([]byte, error) {
	root, err := yaml.Parse(string(values))
	if err != nil {
		return nil, fmt.Errorf("read values.yaml: %w", err)
	}
	var out bytes.Buffer
	out.WriteString(head)
	if err := rows(&out, root.YNode(), "", "", false); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// rows writes a line for each value of the map m. The line of the first value begins with the
// map's own comment. documented reports whether the map has one.
func rows(out *bytes.Buffer, m *yaml.Node, prefix, mapComment string, documented bool) error {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		path, valueComment := prefix+key.Value, comment(key.HeadComment)
		about := strings.TrimSpace(mapComment + " " + valueComment)
		mapComment = ""
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			if err := rows(out, value, path+".", about, documented || about != ""); err != nil {
				return err
			}
			continue
		}
		if valueComment == "" && !documented {
			return fmt.Errorf("values.yaml: %s has no comment", path)
		}
		text, err := oneLine(value)
		if err != nil {
			return fmt.Errorf("values.yaml: %s: %w", path, err)
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", path, text, strings.ReplaceAll(about, "|", `\|`))
	}
	return nil
}

func comment(c string) string {
	lines := strings.Split(c, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(line, "#"))
	}
	return strings.Join(lines, " ")
}

// oneLine returns a default value as YAML on one line.
func oneLine(n *yaml.Node) (string, error) {
	if n.Kind == yaml.ScalarNode && n.Style&yaml.DoubleQuotedStyle == 0 {
		return n.Value, nil
	}
	bare := *n
	bare.Style |= yaml.FlowStyle
	bare.HeadComment, bare.LineComment, bare.FootComment = "", "", ""
	b, err := yaml.Marshal(&bare)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}
