// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// messageResource is what names without a type refer to.
const messageResource = "teamtalkmessages.v1alpha1.teamtalk.io"

// MessageFlags select TeamTalkMessages, as kubectl's commands select objects.
type MessageFlags struct {
	selector string
	files    []string
}

// AddFlags adds the flags.
func (f *MessageFlags) AddFlags(c *cobra.Command) {
	c.Flags().StringVarP(&f.selector, "selector", "l", "", "label `selector`, instead of names")
	c.Flags().StringSliceVarP(&f.files, "filename", "f", nil, "manifest `files` with TeamTalkMessages, instead of names")
}

// Find returns the selected messages, of which there is at least one.
func (f *MessageFlags) Find(a *Access, names []string) ([]*v1alpha1.TeamTalkMessage, error) {
	used := 0
	for _, isUsed := range []bool{len(names) > 0, f.selector != "", len(f.files) > 0} {
		if isUsed {
			used++
		}
	}
	if used != 1 {
		return nil, Usagef("name TeamTalkMessages, or use -l SELECTOR or -f FILE: one of these")
	}
	infos, namespace, err := f.infos(a, names)
	if err != nil {
		return nil, err
	}
	var messages []*v1alpha1.TeamTalkMessage
	for _, info := range infos {
		m, ok := info.Object.(*v1alpha1.TeamTalkMessage)
		if !ok {
			return nil, fmt.Errorf("%s is not a TeamTalkMessage: this command is about those", info.ObjectName())
		}
		messages = append(messages, m)
	}
	if len(messages) == 0 {
		return nil, fmt.Errorf("no TeamTalkMessage of namespace %q has labels that match %q", namespace, f.selector)
	}
	return messages, nil
}

func (f *MessageFlags) infos(a *Access, names []string) ([]*resource.Info, string, error) {
	namespace, explicit, err := a.Config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", err
	}
	if err := a.CheckInstalled("TeamTalkMessage"); err != nil {
		return nil, "", err
	}
	b := resource.NewBuilder(a.Config).WithScheme(Scheme, v1alpha1.GroupVersion).
		NamespaceParam(namespace).DefaultNamespace().ContinueOnError().Flatten()
	switch {
	case f.selector != "":
		b = b.LabelSelectorParam(f.selector).ResourceTypes(messageResource)
	case len(f.files) > 0:
		b = b.FilenameParam(explicit, &resource.FilenameOptions{Filenames: f.files}).Latest()
	default:
		b = b.ResourceNames(messageResource, names...)
	}
	infos, err := b.Do().Infos()
	return infos, namespace, err
}

// CheckInstalled returns an error if the cluster does not have a kind.
func (a *Access) CheckInstalled(kind string) error {
	mapper, err := a.Config.ToRESTMapper()
	if err != nil {
		return err
	}
	_, err = mapper.RESTMapping(schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: kind})
	return err
}
