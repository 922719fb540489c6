// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"regexp"
	"strings"

	"github.com/spf13/pflag"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Command is the name of the plugin in help texts and advice.
const Command = "kubectl teamtalk"

// Scheme has the types that the commands read and write.
var Scheme = newScheme()

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}

// Access is the access of a command to a cluster, with kubectl's flags.
type Access struct {
	genericclioptions.IOStreams
	// Config are kubectl's flags.
	Config *genericclioptions.ConfigFlags
	flags  *pflag.FlagSet
}

// NewAccess returns an Access whose flags are not parsed yet.
func NewAccess(streams genericclioptions.IOStreams) *Access {
	config := genericclioptions.NewConfigFlags(true)
	config.APIServer, config.AuthInfoName = nil, nil // --server is a TeamTalkServer here, and --user a user of TeamTalk
	return &Access{IOStreams: streams, Config: config}
}

// AddFlags adds kubectl's flags. Help shows those that most users need.
func (a *Access) AddFlags(fs *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	a.Config.AddFlags(own)
	own.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "kubeconfig", "context", "namespace":
		default:
			f.Hidden = true
		}
	})
	fs.AddFlagSet(own)
	a.flags = own // the flags themselves, so that they know whether they were set
}

// Namespace returns the namespace of the flags or of the kubeconfig.
func (a *Access) Namespace() (string, error) {
	namespace, _, err := a.Config.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// ContextName returns the name of the kubeconfig's context for messages, or nothing if it has none.
func (a *Access) ContextName() string {
	if name := a.Config.Context; name != nil && *name != "" {
		return *name
	}
	raw, err := a.Config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return ""
	}
	return raw.CurrentContext
}

// RESTConfig returns the configuration of clients. They show the warnings of the API server.
func (a *Access) RESTConfig() (*rest.Config, error) {
	config, err := a.Config.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NewWarningWriter(a.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	return config, nil
}

// Client returns a client without a cache.
func (a *Access) Client() (client.WithWatch, error) {
	config, err := a.RESTConfig()
	if err != nil {
		return nil, err
	}
	mapper, err := a.Config.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: Scheme, Mapper: mapper})
}

// ClientAndNamespace returns both.
func (a *Access) ClientAndNamespace() (client.WithWatch, string, error) {
	namespace, err := a.Namespace()
	if err != nil {
		return nil, "", err
	}
	c, err := a.Client()
	return c, namespace, err
}

// Advise returns a command for a message to the user. It has the namespace, unless that is empty, and the user's other
// flags of kubectl, so that it works with the same cluster. It does not show the value of --token.
func (a *Access) Advise(namespace, command string) string {
	if namespace != "" {
		command += " -n " + namespace
	}
	if a.flags == nil {
		return command
	}
	a.flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed || f.Name == "namespace" {
			return
		}
		values := []string{f.Value.String()}
		if list, isList := f.Value.(pflag.SliceValue); isList {
			values = list.GetSlice()
		}
		for _, value := range values {
			if f.Name == "token" {
				value = "TOKEN"
			}
			command += " --" + f.Name + "=" + shellQuote(value)
		}
	})
	return command
}

// AdviseFollow returns the command that follows a message.
func (a *Access) AdviseFollow(m *v1alpha1.TeamTalkMessage) string {
	return a.Advise(m.Namespace, Command+" status "+m.Name+" --watch")
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellQuote quotes a word for a shell, if it needs that.
func shellQuote(word string) string {
	if shellSafe.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
