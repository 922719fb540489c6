// Command serve serves TeamTalkReceivers alone, for tests: a process that can be
// killed, with no more rights than its role grants. It lets in whom a receiver's
// Secret lets in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
)

func main() {
	// controller-runtime has flags of its own in the default set.
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig `file`")
	address := flags.String("address", "127.0.0.1:0", "`host:port` to listen on")
	_ = flags.Parse(os.Args[1:]) // exits by itself
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *kubeconfig, *address); err != nil {
		fmt.Fprintf(os.Stderr, "serve: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, address string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	cfg.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	log := zap.New(zap.UseDevMode(true), zap.Level(zapcore.InfoLevel), zap.WriteTo(os.Stderr))
	ctrl.SetLogger(log)
	handler := receiver.NewHandler(receiver.Options{Client: c, Log: log})
	mux := http.NewServeMux()
	mux.Handle(receiver.Pattern, handler)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	var wg sync.WaitGroup
	statuses, stopStatuses := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { _ = handler.Start(statuses) })
	wg.Go(func() {
		<-ctx.Done()
		_ = server.Shutdown(context.WithoutCancel(ctx))
		stopStatuses()
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		stopStatuses()
		return err
	}
	wg.Wait()
	return nil
}
