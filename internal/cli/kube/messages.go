// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

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

// Find returns the selected messages that exist. The error says if there is none, or which do not exist.
func (f *MessageFlags) Find(
	ctx context.Context, a *Access, c client.Client, args []string,
) ([]*v1alpha1.TeamTalkMessage, error) {
	used := 0
	for _, isUsed := range []bool{len(args) > 0, f.selector != "", len(f.files) > 0} {
		if isUsed {
			used++
		}
	}
	switch {
	case used == 0:
		return nil, Usagef("no TeamTalkMessage is named: use names, -l SELECTOR or -f FILE")
	case used > 1:
		return nil, Usagef("names, -l and -f cannot be used together: use one of these")
	case f.selector != "":
		return f.list(ctx, a, c)
	}
	keys, err := f.keys(a, args)
	if err != nil {
		return nil, err
	}
	return getMessages(ctx, a, c, keys)
}

// list returns the messages with the labels.
func (f *MessageFlags) list(ctx context.Context, a *Access, c client.Client) ([]*v1alpha1.TeamTalkMessage, error) {
	selector, err := labels.Parse(f.selector)
	if err != nil {
		return nil, Usagef("-l %q is not a label selector, such as app=build: %w", f.selector, err)
	}
	namespace, err := a.Namespace()
	if err != nil {
		return nil, err
	}
	list := &v1alpha1.TeamTalkMessageList{}
	err = c.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("no TeamTalkMessage of namespace %q has labels that match %q: "+
			"\"%s\" shows them", namespace, f.selector, a.Advise(namespace, "kubectl get ttm --show-labels"))
	}
	messages := make([]*v1alpha1.TeamTalkMessage, len(list.Items))
	for i := range list.Items {
		messages[i] = &list.Items[i]
	}
	return messages, nil
}

// keys returns the names of the arguments, or those of the files.
func (f *MessageFlags) keys(a *Access, args []string) (keys []types.NamespacedName, err error) {
	namespace, isGiven, err := a.Config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	for _, arg := range args {
		name, err := MessageName(arg)
		if err != nil {
			return nil, err
		}
		keys = append(keys, types.NamespacedName{Namespace: namespace, Name: name})
	}
	if len(f.files) == 0 {
		return keys, nil
	}
	infos, err := resource.NewLocalBuilder().Unstructured().Flatten().
		FilenameParam(false, &resource.FilenameOptions{Filenames: f.files}).Do().Infos()
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %s", Shorten(err.Error())) // it may quote a whole file
	}
	want := v1alpha1.GroupVersion.WithKind("TeamTalkMessage").GroupKind()
	for _, info := range infos {
		if info.Object.GetObjectKind().GroupVersionKind().GroupKind() != want {
			continue
		}
		if isGiven && info.Namespace != "" && info.Namespace != namespace {
			return nil, Usagef("TeamTalkMessage %q of %s is of namespace %q: leave out -n %s",
				info.Name, info.Source, info.Namespace, namespace)
		}
		keys = append(keys, types.NamespacedName{Namespace: cmp.Or(info.Namespace, namespace), Name: info.Name})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: there is no TeamTalkMessage: name the file that has it", strings.Join(f.files, ", "))
	}
	return keys, nil
}

// getMessages returns the messages that exist. The error names the others.
func getMessages(
	ctx context.Context, a *Access, c client.Client, keys []types.NamespacedName,
) (messages []*v1alpha1.TeamTalkMessage, err error) {
	var absent []types.NamespacedName
	for _, key := range keys {
		m := &v1alpha1.TeamTalkMessage{}
		switch err := c.Get(ctx, key, m); {
		case apierrors.IsNotFound(err):
			absent = append(absent, key)
		case err != nil:
			return messages, err
		default:
			messages = append(messages, m)
		}
	}
	if len(absent) > 0 {
		return messages, a.absent("teamtalkmessages", absent...)
	}
	return messages, nil
}

// MessageName returns the name of a message. kubectl and the plugin print it with its resource before it.
func MessageName(arg string) (string, error) {
	kind, name, isQualified := strings.Cut(arg, "/")
	if !isQualified {
		return arg, nil
	}
	kind, _, _ = strings.Cut(strings.ToLower(kind), ".")
	if name == "" || !slices.Contains([]string{"ttm", "teamtalkmessage", "teamtalkmessages"}, kind) {
		return "", Usagef("%q is not a TeamTalkMessage: use its name", arg)
	}
	return name, nil
}
