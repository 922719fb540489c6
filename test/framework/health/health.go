// SPDX-License-Identifier: Apache-2.0

package health

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Health is what tools make of an object.
type Health struct {
	KStatus status.Status
	// ArgoCD is Healthy, Progressing, Degraded or Suspended.
	ArgoCD string
}

// Customizations is the directory with Argo CD's health checks, below the root of the project.
const Customizations = "config/argocd/resource_customizations"

// Of returns what tools make of an object.
func Of(root string, o *unstructured.Unstructured) (Health, error) {
	result, err := status.Compute(o)
	if err != nil {
		return Health{}, fmt.Errorf("kstatus: %w", err)
	}
	gvk := o.GroupVersionKind()
	argoCD, _, err := ArgoCD(filepath.Join(root, Customizations, gvk.Group, gvk.Kind, "health.lua"), o)
	return Health{KStatus: result.Status, ArgoCD: argoCD}, err
}

// ArgoCD runs a health check as Argo CD does: the object is the global variable obj, and the check returns a table with
// status and message. Argo CD opens the libraries base, string, table, package and os, of which these checks need the
// first only.
func ArgoCD(file string, o *unstructured.Unstructured) (status, message string, err error) {
	script, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("no health check: %w", err)
	}
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	l.Push(l.NewFunction(lua.OpenBase))
	l.Push(lua.LString(lua.BaseLibName))
	l.Call(1, 0)
	l.SetGlobal("obj", luaValue(o.Object))
	if err := l.DoString(string(script)); err != nil {
		return "", "", fmt.Errorf("%s: %w", file, err)
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("%s returns no table", file)
	}
	return lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message")), nil
}

// luaValue converts decoded JSON.
func luaValue(v any) lua.LValue {
	switch v := v.(type) {
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		t := &lua.LTable{}
		for _, e := range v {
			t.Append(luaValue(e))
		}
		return t
	case map[string]any:
		t := &lua.LTable{}
		for k, e := range v {
			t.RawSetString(k, luaValue(e))
		}
		return t
	}
	return lua.LNil
}
