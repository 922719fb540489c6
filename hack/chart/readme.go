package main

import (
	"bytes"
	"fmt"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const head = `<!-- Written by "make chart" from values.yaml. -->
# teamtalk-operator

The chart installs what ` + "`kubectl apply -k config/default`" + ` does, with choices.
How to install it, let it read your namespaces, upgrade and remove it: [Installing](../../docs/install.md).

` + "```sh" + `
helm install teamtalk-operator charts/teamtalk-operator --namespace teamtalk-system --create-namespace \
  --set image.repository=registry.example.com/teamtalk-operator
` + "```" + `

## Values

| value | default | |
| --- | --- | --- |
`

// Readme makes the chart's README. Each value has a comment right above it that
// says what it is, or is part of one that has.
func Readme(values []byte) ([]byte, error) {
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

// rows writes a line for each value of a map. The map's own comment, in first,
// stands before that of its first value; explained says that there is one.
func rows(out *bytes.Buffer, m *yaml.Node, prefix, first string, explained bool) error {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		path, own := prefix+key.Value, comment(key.HeadComment)
		about := strings.TrimSpace(first + " " + own)
		first = ""
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			if err := rows(out, value, path+".", about, explained || about != ""); err != nil {
				return err
			}
			continue
		}
		if own == "" && !explained {
			return fmt.Errorf("values.yaml: %s has no comment that says what it is", path)
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

// oneLine writes a default as it stands in values.yaml.
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
