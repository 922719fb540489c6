// SPDX-License-Identifier: Apache-2.0

// Package teamtalkgroup reconciles TeamTalkGroups: chat groups that are created or adopted, and whose members are kept
// as declared.
//
// Reconciler.Reconcile runs the phases over one scope: it checks that this process may act, finds or creates the group,
// and changes its members. A group is created once: its avatar contains the mark of the resource, and the attempt is
// recorded before the request. Reconciler.Changed corrects drift after a router's notify.
package teamtalkgroup
