// SPDX-License-Identifier: Apache-2.0

// Package crd provides CustomResourceDefinitions, to check objects without a cluster.
//
// Receivers is the CustomResourceDefinition of TeamTalkReceivers.
package crd

import _ "embed" // for Receivers

// Receivers is the CustomResourceDefinition of TeamTalkReceivers, in YAML.
//
//go:embed bases/teamtalk.io_teamtalkreceivers.yaml
var Receivers []byte
