package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
)

func main() {
	_ = v1alpha1.AddToScheme(scheme.Scheme)
	cfg, err := clientcmd.BuildConfigFromFlags("", "/tmp/speedfill/operator.kubeconfig")
	if err != nil {
		panic(err)
	}
	cfg.DisableCompression = os.Getenv("NOGZ") != ""
	f, _ := os.Create("/tmp/speedfill/cpu.pprof")
	_ = pprof.StartCPUProfile(f)
	began := time.Now()
	c, err := cache.New(cfg, cache.Options{Scheme: scheme.Scheme, ByObject: map[client.Object]cache.ByObject{&v1alpha1.TeamTalkMessage{}: {Transform: teamtalkmessage.Slim}}})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	go c.Start(ctx)
	if _, err := c.GetInformer(ctx, &v1alpha1.TeamTalkMessage{}); err != nil {
		panic(err)
	}
	c.WaitForCacheSync(ctx)
	pprof.StopCPUProfile()
	f.Close()
	var u syscall.Rusage
	_ = syscall.Getrusage(0, &u)
	fmt.Println("synced", time.Since(began), "user", u.Utime.Sec, "sys", u.Stime.Sec)
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	fmt.Println("sys MB", ms.Sys>>20, "heapinuse", ms.HeapInuse>>20, "heapalloc", ms.HeapAlloc>>20, "numgc", ms.NumGC, "total", ms.TotalAlloc>>20, "maxrss", u.Maxrss>>10)
	runtime.GC()
	runtime.ReadMemStats(&ms)
	fmt.Println("after gc heapalloc", ms.HeapAlloc>>20)
	h, _ := os.Create("/tmp/speedfill/heap.pprof")
	_ = pprof.WriteHeapProfile(h)
	h.Close()
}
