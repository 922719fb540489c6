// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"

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

// FollowCommand is the command that follows a message, as advice.
func FollowCommand(m *v1alpha1.TeamTalkMessage) string {
	return fmt.Sprintf("%s status %s -n %s --watch", Command, m.Name, m.Namespace)
}
