// SPDX-License-Identifier: Apache-2.0

// Package crd has the definitions of the kinds, for what checks objects without a
// cluster.
package crd

import _ "embed" // of the definitions

// Receivers is the CustomResourceDefinition of TeamTalkReceivers, in YAML.
//
//go:embed bases/teamtalk.io_teamtalkreceivers.yaml
var Receivers []byte
