// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func gatewayScenarios() []scenario {
	return []scenario{{
		// A gateway in direct mode keeps no record. Messages that it announced without an answer are found in the
		// store, and announced again.
		name: "gateway-restarted", needsDev: true, reroutes: true, run: gatewayRestarted,
		clause: "kill -9 of a gateway in direct mode; callers repeat requests while reads lag",
	}}
}

// directGateway grants a user the rights of a gateway in direct mode. It returns a function that starts one at an
// address.
func (w *world) directGateway(ctx context.Context, address string) func() *framework.Process {
	c, user := w.cluster, "direct-"+w.namespace
	framework.Must(framework.BindDirectGateway(ctx, c.admin, user, w.namespace))
	file := framework.MustGet(os.CreateTemp(c.dir, "kubeconfig-"))
	_ = file.Close() // only its name is needed
	framework.Must(framework.WriteKubeconfig(file.Name(), framework.MustGet(c.plane.User(user))))
	return func() *framework.Process {
		log := &framework.Log{}
		p := framework.MustGet(framework.Start(c.binary, log, "gateway", "--kubeconfig", file.Name(),
			"--namespace", w.namespace, "--mode", "direct", "--auth", "None", "--bind-address", address,
			"--health-probe-bind-address", "0"))
		framework.Mustf(p.AwaitOK(ctx, "http://"+address+"/readyz"), "%s", log)
		return p
	}
}

// post sends a message through a gateway until it is answered with code 0.
func (w *world) post(ctx context.Context, address string, m *message) {
	endpoint := "SendSingleMessage"
	if m.to[0].group {
		endpoint = "SendGroupMessage"
	}
	body := fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, w.sender, m.to[0].id, w.text(m.number))
	url := fmt.Sprintf("http://%s/query/%s", address, endpoint)
	w.await(ctx, fmt.Sprintf("message %d is answered", m.number), func() (string, bool) {
		_, text, err := framework.Ask(ctx, http.DefaultClient, http.MethodPost, url, body, "Idempotency-Key", m.key)
		var answer struct {
			Code *int `json:"error_code"`
		}
		if err != nil || json.Unmarshal([]byte(text), &answer) != nil {
			return fmt.Sprint(err, text), false
		}
		return text, answer.Code != nil && *answer.Code == 0
	})
}

func gatewayRestarted(ctx context.Context, w *world) {
	address := framework.MustGet(framework.FreeAddresses(1))[0]
	start := w.directGateway(ctx, address)
	p := start()
	defer func() { p.Kill() }()
	w.inDev(devserver.Fault{Kind: devserver.Lag, Delay: lag - 500*time.Millisecond})
	lost := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Skip: w.size / 4,
		Do: faultproxy.Drop})
	w.deal = func(m *message) {
		w.giveKey(m)
		m.want = posted
	}
	done := make(chan error, 1)
	all := w.more(w.size)
	go func() {
		done <- framework.Parallel(ctx, w.caught(), len(all), func(ctx context.Context, i int) {
			w.post(ctx, address, all[i])
		})
	}()
	framework.Must(lost.Await(ctx, w.caught()))
	p.Kill()
	lost.Remove()
	p = start()
	framework.Must(<-done)
}
