// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// receiverScenarios are about alerts that are escalated if they are not resolved in time.
func receiverScenarios() []scenario {
	return takeovers([]scenario{{
		name: "kill-resolving", needsDev: true, run: killResolving,
		clause: "kill -9 of operator and gateway: alerts are resolved before and at their deadline",
	}})
}

// callers is the token of the callers of the receivers.
const callers = "chaos-callers-token"

// gateway is a process that serves receivers, with its own proxy to the API server.
type gateway struct {
	world   *world
	process *framework.Process
	api     *apiproxy.Proxy
	address string
	file    string
}

// serveReceivers creates a receiver for each user, and a gateway that serves them. It assigns each message to one of
// them.
func (w *world) serveReceivers(ctx context.Context) *gateway {
	c, user := w.cluster, "gateway-"+w.namespace
	framework.Must(framework.BindGateway(ctx, c.admin, user))
	g := &gateway{world: w, api: framework.MustGet(apiproxy.Start(framework.MustGet(c.plane.User(user))))}
	file := framework.MustGet(os.CreateTemp(c.dir, "kubeconfig-"))
	_ = file.Close() // only its name is needed
	g.file, g.address = file.Name(), framework.MustGet(framework.FreeAddresses(1))[0]
	framework.Must(framework.WriteKubeconfig(g.file, g.api.Config()))
	framework.Must(c.admin.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "callers"},
		Data:       map[string][]byte{"token": []byte(callers)},
	}))
	w.deal = func(m *message) {
		i := m.number % len(w.users)
		m.to = []recipient{{false, w.users[i]}}
		m.escalateTo = []recipient{{false, w.users[(i+1)%len(w.users)]}, {true, w.groups[i%len(w.groups)]}}
	}
	for i := range w.users {
		m := &message{number: i}
		w.deal(m)
		framework.Must(c.admin.Create(ctx, w.receiver(m)))
	}
	g.start(ctx)
	return g
}

func receiverOf(m *message) string { return fmt.Sprintf("of-%d", m.to[0].id) }

// receiver returns the receiver of a message's recipient.
func (w *world) receiver(m *message) *v1alpha1.TeamTalkReceiver {
	to, escalateTo := recipients(m.to), recipients(m.escalateTo)
	return &v1alpha1.TeamTalkReceiver{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: receiverOf(m)},
		Spec: v1alpha1.TeamTalkReceiverSpec{
			Type: v1alpha1.ReceiverGeneric, To: v1alpha1.NamedRecipients{Users: to.Users},
			Template: "{{ .text }}", DedupKey: "payload.id", Filter: `payload.status != "resolved"`,
			Authentication: &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "callers"}},
			ReadPolicy: &v1alpha1.ReceiverReadPolicy{
				EscalateTo: &v1alpha1.NamedRecipients{Users: escalateTo.Users, Groups: escalateTo.Groups},
			},
		},
	}
}

func (g *gateway) start(ctx context.Context) {
	log := &framework.Log{}
	g.process = framework.MustGet(framework.Start(g.world.cluster.binary, log, "gateway", "--kubeconfig", g.file,
		"--namespace", g.world.namespace, "--bind-address", g.address, "--health-probe-bind-address", "0"))
	framework.Mustf(g.process.AwaitListening(ctx, g.address), "%s", log)
}

func (g *gateway) stop() {
	g.process.Kill()
	g.api.Stop()
}

// post posts an alert once. It returns whether the answer was 200, and the answer.
func (g *gateway) post(ctx context.Context, m *message, status string) (ok bool, answer string) {
	body := fmt.Sprintf(`{"id":"%d","status":%q,"text":%q}`, m.number, status, g.world.text(m.number))
	url := fmt.Sprintf("http://%s/v1/receivers/%s/%s", g.address, g.world.namespace, receiverOf(m))
	response, text, err := framework.Ask(ctx, http.DefaultClient, http.MethodPost, url, body,
		"Authorization", "Bearer "+callers)
	return err == nil && response.StatusCode == http.StatusOK, fmt.Sprint(text, err)
}

// tell repeats a post until it is answered with 200.
func (g *gateway) tell(ctx context.Context, m *message, status string) {
	g.world.await(ctx, fmt.Sprintf("alert %d is taken", m.number), func() (string, bool) {
		ok, answer := g.post(ctx, m, status)
		return answer, ok
	})
}

// adopt finds the resources that the gateway has created for the messages.
func (w *world) adopt(ctx context.Context) {
	byText, objects := map[string]*v1alpha1.TeamTalkMessage{}, w.objects(ctx, w.cluster.admin)
	for _, o := range objects {
		byText[*o.Spec.Content.Text] = o
	}
	if len(objects) != len(w.messages) {
		framework.Failf("%d resources for %d alerts", len(objects), len(w.messages))
	}
	for _, m := range w.messages {
		o := byText[w.text(m.number)]
		if o == nil {
			framework.Failf("no resource for alert %d", m.number)
		}
		m.name, m.uid = o.Name, o.UID
	}
}

// object returns the resource of an alert.
func (g *gateway) object(ctx context.Context, m *message) *v1alpha1.TeamTalkMessage {
	o := &v1alpha1.TeamTalkMessage{}
	framework.Must(g.world.cluster.admin.Get(ctx, client.ObjectKey{Namespace: g.world.namespace, Name: m.name}, o))
	return o
}

// raced has alerts of which some are resolved while their deadline passes.
type raced struct {
	*gateway
	alerts []*message
	// answered has the resolved alerts, by index. begun has those whose escalation had begun before that.
	answered, begun []bool
}

// resolved records that an alert is resolved, and that this was answered.
func (r *raced) resolved(ctx context.Context, i int) {
	r.answered[i], r.begun[i] = true, r.object(ctx, r.alerts[i]).Status.Escalated()
}

func killResolving(ctx context.Context, w *world) {
	g := w.serveReceivers(ctx)
	defer g.stop()
	all := w.more(w.size)
	w.each(ctx, all, func(ctx context.Context, m *message) { g.tell(ctx, m, "firing") })
	w.adopt(ctx)
	w.finished(ctx)
	early, race, rest := all[:len(all)/4], all[len(all)/4:len(all)*3/4], all[len(all)*3/4:]
	isPatch := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	refused := g.api.Add(apiproxy.Rule{Match: isPatch, Every: 2,
		Do: apiproxy.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)})
	w.counts(refused.Fired)
	w.each(ctx, early, func(ctx context.Context, m *message) { g.tell(ctx, m, "resolved") })
	refused.Remove()
	for _, m := range rest {
		m.escalated = true
	}
	r := &raced{gateway: g, alerts: race, answered: make([]bool, len(race)), begun: make([]bool, len(race))}
	r.killBoth(ctx)
	for i, m := range race {
		if !r.answered[i] {
			g.tell(ctx, m, "resolved")
			r.resolved(ctx, i)
		}
	}
	w.decided(ctx)
	for i, m := range race {
		if r.begun[i] { // what was not sent by then may have been stopped
			m.escalateTo, m.escalated = escalatedTo(g.object(ctx, m)), true
		}
	}
}

// killBoth kills the operator and the gateway while the deadlines of all alerts pass and some are resolved. Then it
// starts both again.
func (r *raced) killBoth(ctx context.Context) {
	w := r.world
	hung := r.api.Add(apiproxy.Rule{Match: func(r *http.Request) bool { return r.Method == http.MethodPatch },
		Skip: len(r.alerts) / 2, Do: apiproxy.Hang})
	w.counts(hung.Fired)
	unanswered := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Drop})
	posted := make(chan error, 1)
	go func() {
		posted <- framework.Parallel(ctx, creators, len(r.alerts), func(ctx context.Context, i int) {
			if ok, _ := r.post(ctx, r.alerts[i], "resolved"); ok {
				r.resolved(ctx, i)
			}
		})
	}()
	w.becomeDue(ctx, w.messages)
	framework.Must(hung.Await(ctx, min(creators, len(r.alerts)/4)))
	framework.Must(unanswered.Await(ctx, min(4, w.caught())))
	w.kill(w.leader)
	r.process.Kill()
	framework.Must(<-posted)
	unanswered.Remove()
	hung.Remove()
	w.replace(ctx)
	r.start(ctx)
}

// decided waits until all deadlines have passed, and no escalation is in progress.
func (w *world) decided(ctx context.Context) {
	w.await(ctx, "every deadline has passed", func() (string, bool) {
		open, objects := 0, w.objects(ctx, w.cluster.admin)
		for _, m := range w.messages {
			c := meta.FindStatusCondition(objects[m.uid].Status.Conditions, v1alpha1.ConditionRead)
			if c == nil || c.Reason != v1alpha1.ReasonReadDeadlineExceeded || objects[m.uid].Escalating() {
				open++
			}
		}
		return fmt.Sprintf("%d of %d open", open, len(w.messages)), open == 0
	})
}

// escalatedTo returns the recipients of the escalation in a status.
func escalatedTo(o *v1alpha1.TeamTalkMessage) (all []recipient) {
	for _, r := range o.Status.Escalation.Recipients {
		if r.Reason != v1alpha1.ReasonAlertResolved {
			all = append(all, recipient{r.Type == v1alpha1.RecipientGroup, uint32(r.ID)})
		}
	}
	return all
}
