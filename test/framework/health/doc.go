// SPDX-License-Identifier: Apache-2.0

// Package health says what tools that apply manifests make of an object: Flux and Helm by kstatus, Argo CD by the
// health checks of config/argocd.
//
// Of returns it. A Recorder watches all objects that operators write while tests run, and compares.
package health
