// SPDX-License-Identifier: Apache-2.0

package teamtalkserver

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

var noon = time.Unix(1_700_000_000, 0)

// keyed returns keys: the current one, then the previous ones, each a letter.
func keyed(t *testing.T, letters string) cipher.Keys {
	t.Helper()
	var all []*cipher.Cipher
	for _, letter := range []byte(letters) {
		c, err := cipher.New(bytes.Repeat([]byte{letter}, cipher.KeyLen))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return cipher.Keys{Current: all[0], Previous: all[1:]}
}

func inUse(minutes int, version, name string) v1alpha1.KeyInUse {
	return v1alpha1.KeyInUse{
		Since: metav1.NewTime(noon.Add(time.Duration(minutes) * time.Minute)), SecretUID: "s", ResourceVersion: version, Name: name,
	}
}

// TestNextKeysInUse: what a Secret held in a version that was not seen is not known.
func TestNextKeysInUse(t *testing.T) {
	const key, previous, previous2 = "aesKey", "aesKey.previous", "aesKey.previous.2"
	record := func(r ...v1alpha1.KeyInUse) []v1alpha1.KeyInUse { return r }
	tests := map[string]struct {
		record []v1alpha1.KeyInUse
		// before and now are the keys as letters; version of before is 1. No before: a new process.
		before, now, version string
		want                 []v1alpha1.KeyInUse
	}{
		"the first":                        {nil, "", "a", "1", record(inUse(60, "1", key))},
		"as recorded":                      {record(inUse(0, "1", key)), "a", "a", "1", record(inUse(0, "1", key))},
		"as recorded, for a new process":   {record(inUse(0, "1", key)), "", "a", "1", record(inUse(0, "1", key))},
		"another version, same key":        {record(inUse(0, "1", key)), "a", "a", "2", record(inUse(0, "2", key))},
		"another version, not seen":        {record(inUse(0, "1", key)), "", "a", "2", record(inUse(0, "1", ""), inUse(60, "2", key))},
		"rotated":                          {record(inUse(0, "1", key)), "a", "ba", "2", record(inUse(0, "1", previous), inUse(60, "2", key))},
		"rotated, and not kept":            {record(inUse(0, "1", key)), "a", "b", "2", record(inUse(0, "1", ""), inUse(60, "2", key))},
		"rotated twice":                    {record(inUse(-9, "0", previous), inUse(0, "1", key)), "ba", "cba", "2", record(inUse(-9, "0", previous2), inUse(0, "1", previous), inUse(60, "2", key))},
		"an older one removed":             {record(inUse(-9, "0", previous), inUse(0, "1", key)), "ba", "b", "2", record(inUse(-9, "0", ""), inUse(0, "2", key))},
		"an older one gone, another there": {record(inUse(-9, "0", previous), inUse(0, "1", key)), "ba", "bx", "2", record(inUse(-9, "0", ""), inUse(0, "2", key))},
		"rotated, not seen":                {record(inUse(-9, "0", previous), inUse(0, "1", key)), "", "cba", "2", record(inUse(-9, "0", ""), inUse(0, "1", ""), inUse(60, "2", key))},
		"the previous one again":           {record(inUse(-9, "0", previous), inUse(0, "1", key)), "ba", "ab", "2", record(inUse(-9, "0", key), inUse(0, "1", previous), inUse(60, "2", key))},
		"written by another one since":     {record(inUse(0, "7", key)), "a", "a", "8", record(inUse(0, "7", ""), inUse(60, "8", key))},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ref := v1alpha1.SecretKeyRef{Name: "teamtalk", Key: key}
			now := loadedKeys{uid: "s", version: tc.version, ref: ref, keys: keyed(t, tc.now)}
			var before *loadedKeys
			if tc.before != "" {
				before = &loadedKeys{uid: "s", version: "1", ref: ref, keys: keyed(t, tc.before)}
			}
			got := nextKeysInUse(tc.record, before, now, metav1.NewTime(noon.Add(time.Hour)))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	var long []v1alpha1.KeyInUse
	for n := range v1alpha1.MaxKeysInUse {
		long = append(long, inUse(n, "1", ""))
	}
	now := loadedKeys{uid: "s", version: "2", ref: v1alpha1.SecretKeyRef{Key: key}, keys: keyed(t, "a")}
	if got := nextKeysInUse(long, nil, now, metav1.NewTime(noon)); len(got) != v1alpha1.MaxKeysInUse || got[0] != long[1] {
		t.Errorf("%d entries, from %v", len(got), got[0])
	}
}

func TestPeriodsAtHand(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	tests := map[string]struct {
		record []v1alpha1.KeyInUse
		want   []cipher.Period
	}{
		"none":                          {nil, nil},
		"one":                           {[]v1alpha1.KeyInUse{inUse(0, "1", "k")}, []cipher.Period{{Begin: at(5)}}},
		"all":                           {[]v1alpha1.KeyInUse{inUse(0, "1", "k.previous"), inUse(60, "1", "k")}, []cipher.Period{{Begin: at(5)}}},
		"the first is gone":             {[]v1alpha1.KeyInUse{inUse(0, "1", ""), inUse(60, "1", "k")}, []cipher.Period{{Begin: at(65)}}},
		"the second is gone":            {[]v1alpha1.KeyInUse{inUse(0, "1", "k.previous"), inUse(60, "1", ""), inUse(90, "1", "k")}, []cipher.Period{{Begin: at(5), End: at(55)}, {Begin: at(95)}}},
		"one that was hardly in use":    {[]v1alpha1.KeyInUse{inUse(0, "1", "k.previous"), inUse(8, "1", ""), inUse(9, "1", "k")}, []cipher.Period{{Begin: at(14)}}},
		"two in a row that are gone":    {[]v1alpha1.KeyInUse{inUse(0, "1", "k.previous"), inUse(60, "1", ""), inUse(61, "1", ""), inUse(90, "1", "k")}, []cipher.Period{{Begin: at(5), End: at(55)}, {Begin: at(95)}}},
		"one between, for a short time": {[]v1alpha1.KeyInUse{inUse(0, "1", ""), inUse(60, "1", "k.previous"), inUse(65, "1", ""), inUse(90, "1", "k")}, []cipher.Period{{Begin: at(95)}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, periodsAtHand(tc.record)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRecordedBeforeUse: the session gets a key once the status shows it, and keeps the one before until then.
func TestRecordedBeforeUse(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	server := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "default"}}
	server.Spec.AESKeySecretRef = v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "teamtalk", UID: "s"}}
	secret.Data = map[string][]byte{"aesKey": bytes.Repeat([]byte("a"), cipher.KeyLen)}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "operator"}}
	lease.Spec.HolderIdentity = new("me")
	var refused error
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(server, secret, lease).WithStatusSubresource(server).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			if refused != nil {
				return refused
			}
			return c.SubResource(sub).Patch(ctx, o, patch, opts...)
		}}).Build()
	nothing := func(types.NamespacedName) {}
	open := func() error { return nil }
	terms := leadership.NewTermTracker(api, api, client.ObjectKeyFromObject(lease), "me", time.Second)
	r := &Reconciler{
		Client: api, Claims: leadership.NewClaims(terms, open), Recorder: events.NewFakeRecorder(10),
		Sessions:    connection.NewManager(logr.Discard(), dbproxy.NewLimits(64, 8), open, connection.Events{Connection: nothing, Usable: nothing}),
		Secrets:     apiwatch.NewObjects(api, "Secret", logr.Discard(), nothing),
		MessageWake: &apiwatch.Trigger{},
	}
	if err := terms.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKeyFromObject(server)
	wantKey := func(letter string, wantErr bool) {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); (err != nil) != wantErr {
			t.Errorf("reconcile: %v", err)
		}
		session, ok := r.Sessions.Get(key)
		if !ok || !session.Keys().Current.Equal(keyed(t, letter).Current) {
			t.Errorf("the session does not use key %s", letter)
		}
	}
	wantKey("a", false)
	secret.Data = map[string][]byte{"aesKey": bytes.Repeat([]byte("b"), cipher.KeyLen), "aesKey.previous": secret.Data["aesKey"]}
	if err := api.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	refused = errors.New("the API server is not available")
	wantKey("a", true)
	refused = nil
	wantKey("b", false)
	if err := api.Get(t.Context(), key, server); err != nil {
		t.Fatal(err)
	}
	record := server.Status.KeysInUse
	if len(record) != 2 || record[0].Name != "aesKey.previous" || record[1].Name != "aesKey" || record[1].ResourceVersion != secret.ResourceVersion {
		t.Errorf("recorded: %+v", record)
	}
	if session, _ := r.Sessions.Get(key); len(session.Keys().AtHand) != 1 {
		t.Errorf("at hand: %+v", session.Keys().AtHand)
	}
	// Where somebody removes the claim, it is written again before a new session sends anything.
	before, _ := r.Sessions.Get(key)
	server.Status.ManagedBy = nil
	if err := api.Status().Update(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	wantKey("b", false)
	if after, _ := r.Sessions.Get(key); after == before {
		t.Error("the session outlives its claim")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := r.Sessions.Start(ended); err != nil {
		t.Error(err)
	}
}
