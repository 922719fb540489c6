// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/legacy"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// Mode is a way of sending.
type Mode string

const (
	// ModeRecord creates TeamTalkMessages.
	ModeRecord Mode = "record"
	// ModeDirect sends to TeamTalk.
	ModeDirect Mode = "direct"
)

// Values of Options.Auth.
const (
	authKubernetes = "Kubernetes"
	authNone       = "None"
)

// Options configure a gateway in either process.
type Options struct {
	// Namespace of requests that name none.
	Namespace string
	HTTP      httpserver.Options
	// Auth is Kubernetes or None. With None all callers are admitted, and the listener must be on loopback.
	Auth string
	// Audiences that tokens must be for. If empty, it is the API server's own.
	Audiences []string
	// AppKeys is the name of the Secret of the app_keys, in Namespace. If empty, no app_key is accepted.
	AppKeys string
	// Wait is how long a request without ?wait= waits for its delivery.
	Wait time.Duration
	// TTL is how long messages are kept after they have finished. If 0, they are not deleted.
	TTL time.Duration
	// Endpoints are the endpoints that TeamTalkServers may use in ModeDirect. If nil, all are allowed.
	Endpoints *tenancy.Endpoints

	// prefix of the flags' names, for errors.
	prefix string
}

// Flags adds the options to a flag set, with their defaults. The flags' names begin with prefix.
func (o *Options) Flags(fs *pflag.FlagSet, prefix, namespace, address, usage string) {
	o.prefix = prefix
	o.HTTP.Flags(fs, prefix, address, usage)
	fs.StringVar(&o.Namespace, prefix+"namespace", namespace,
		"`namespace` of requests without one, and of the Secret with app keys. In a pod, the default is its namespace")
	fs.StringVar(&o.Auth, prefix+"auth", authKubernetes, "`method` to authenticate callers: Kubernetes (bearer tokens, "+
		"and app keys if configured) or None (no authentication; --"+prefix+"bind-address must be on loopback)")
	fs.StringSliceVar(&o.Audiences, prefix+"token-audience", nil,
		"`audience` of bearer tokens. May be repeated. If empty, that of the API server")
	fs.StringVar(&o.AppKeys, prefix+"app-keys-secret", "",
		"`name` of the Secret that maps app keys to namespaces and senders. If empty, app keys are refused")
	fs.DurationVar(&o.Wait, prefix+"wait", 2500*time.Millisecond,
		"how long a request without ?wait= waits for its delivery")
	fs.DurationVar(&o.TTL, prefix+"message-ttl", 24*time.Hour,
		"how long finished messages are kept. If 0, they are not deleted")
}

// Validate returns an error of one line that names the flag to change.
func (o *Options) Validate() error {
	if err := o.HTTP.Validate(); err != nil {
		return err
	}
	switch p := o.prefix; {
	case o.Namespace == "":
		return fmt.Errorf("--%snamespace must not be empty", p)
	case o.Auth != authKubernetes && o.Auth != authNone:
		return fmt.Errorf("--%sauth must be %s or %s, not %q", p, authKubernetes, authNone, o.Auth)
	case o.Auth == authNone && !o.HTTP.Loopback():
		return fmt.Errorf("--%[1]sauth %[2]s needs a --%[1]sbind-address on loopback, such as 127.0.0.1:8400, not %[3]q: "+
			"any client that can connect to it could send", p, authNone, o.HTTP.Address)
	case o.Auth == authNone && (o.AppKeys != "" || len(o.Audiences) > 0):
		return fmt.Errorf("--%[1]sauth %[2]s admits all callers: remove --%[1]sapp-keys-secret and --%[1]stoken-audience",
			p, authNone)
	case o.Wait < 0 || o.Wait > legacy.MaxWait:
		return fmt.Errorf("--%swait must be from 0 to %s, not %s", p, legacy.MaxWait, o.Wait)
	case o.TTL < 0 || o.TTL > 0 && o.TTL < time.Second:
		return fmt.Errorf("--%smessage-ttl must be 0, or at least 1s, not %s", p, o.TTL)
	}
	return nil
}

// NewServer returns the HTTP server. If all callers are admitted, they count as one, who may use the whole limit.
func (o *Options) NewServer(log logr.Logger) *httpserver.Server {
	h := o.HTTP
	if o.Auth == authNone && h.MaxPerCaller == 0 {
		h.MaxPerCaller = h.MaxInFlight
	}
	return httpserver.New(h, log)
}
