package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/controlplane"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/harness"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	dir := os.Args[2]
	ctx := context.Background()
	must(v1alpha1.AddToScheme(scheme.Scheme))
	root, err := harness.Root()
	must(err)
	plane, err := controlplane.Start(ctx, controlplane.Options{APIServerFlags: map[string][]string{"profiling": {"true"}}})
	must(err)
	defer plane.Stop()
	must(plane.InstallCRDs(filepath.Join(root, "config", "crd", "bases")))
	cfg := plane.Config()
	cfg.QPS = -1
	admin, err := client.New(cfg, client.Options{})
	must(err)
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	crd.SetName("teamtalkmessages.teamtalk.io")
	must(admin.Patch(ctx, crd, client.RawPatch("application/json-patch+json", []byte(`[{"op":"remove","path":"/spec/versions/0/subresources"}]`))))
	time.Sleep(8 * time.Second)
	must(harness.BindOperator(ctx, admin, "teamtalk-operator", "default"))
	u, err := plane.User("teamtalk-operator")
	must(err)
	must(harness.WriteKubeconfig(filepath.Join(dir, "operator.kubeconfig"), u))
	must(plane.WriteKubeconfig(filepath.Join(dir, "admin.kubeconfig")))
	tt, err := devserver.Start(ctx, devserver.Options{DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0"})
	must(err)
	must(os.WriteFile(filepath.Join(dir, "addr"), []byte(tt.DBProxyAddr()+" "+tt.RouterAddr()), 0o600))
	must(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "old"}}))
	began := time.Now()
	next := make(chan int)
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			for i := range next {
				must(admin.Create(ctx, message(i)))
				if i%10000 == 0 {
					fmt.Println(i, time.Since(began))
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	must(admin.Patch(ctx, crd, client.RawPatch("application/json-patch+json", []byte(`[{"op":"add","path":"/spec/versions/0/subresources","value":{"status":{}}}]`))))
	time.Sleep(5 * time.Second)
	fmt.Println("READY", time.Since(began))
	select {}
}

func message(i int) *v1alpha1.TeamTalkMessage {
	text := fmt.Sprintf("Message number %d of a hundred thousand: the build of main is green again, thanks to everybody who helped", i)
	now := metav1.Now()
	sender := v1alpha1.UserID(1)
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%06d", i), Namespace: "old"},
		Spec: v1alpha1.TeamTalkMessageSpec{
			To:      v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(2 + i%500)}},
			Content: v1alpha1.Content{Text: &text},
		},
		Status: v1alpha1.TeamTalkMessageStatus{
			ObservedGeneration: 1, SenderID: &sender, ToSummary: "user 3", RecipientsSummary: "1/1",
			Counts:    &v1alpha1.RecipientCounts{Recipients: 1, Stored: 1, Routed: 1},
			StartTime: &now, CompletionTime: &now,
			Recipients: []v1alpha1.RecipientStatus{{
				Type: "User", ID: int64(2 + i%500), State: "Routed", MessageIDs: []int64{int64(i)}, Attempts: 1, StoredAt: &now, RoutedAt: &now,
			}},
		},
	}
	for _, c := range []string{"Ready", "Delivered", "Finished"} {
		m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: c, Status: "True", Reason: "Delivered", Message: "delivered to 1 recipient", ObservedGeneration: 1, LastTransitionTime: now})
	}
	return m
}
