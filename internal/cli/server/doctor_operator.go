// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// maxSkew is the difference of clocks that does no harm: the Date header has seconds.
	maxSkew = 5 * time.Second
	// maxLeaseAge is when another operator may take over.
	maxLeaseAge = 30 * time.Second
	// maxAhead is how far the time of a message may be ahead of the API server's.
	maxAhead = time.Minute
)

// checkOperator shows what the operator reports.
func (d *doctor) checkOperator(context.Context) {
	s := d.target.server
	if lines := complaints(s); len(lines) > 0 {
		for _, line := range lines {
			d.report(resultFail, "operator", "%s", line)
		}
		return
	}
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	if ready.ObservedGeneration < s.Generation {
		d.report(resultWarn, "operator", "the conditions are about an earlier spec: try again in a moment, "+
			"and check that the operator runs")
		return
	}
	d.report(resultOK, "operator", "reports %s: %s of db_proxy and %s of routers are connected", ready.Reason,
		connected(s.Status.DBProxy), connected(s.Status.Router))
}

// checkClocks compares the clocks of this machine, of the API server and of the operator, which writes its Lease.
func (d *doctor) checkClocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	skew, err := d.apiServerSkew(ctx)
	if err != nil {
		d.report(resultWarn, "clocks", "not checked: the API server does not tell its time: %v", err)
	} else if skew.Abs() > maxSkew {
		d.report(resultWarn, "clocks", "the clock of this machine is %s %s that of the API server: set it, "+
			"before you trust times that are shown here", skew.Abs().Round(time.Second), aheadOrBehind(skew))
	} else {
		d.report(resultOK, "clocks", "this machine and the API server differ by less than %s", maxSkew)
	}
	d.checkLease(ctx, time.Now().Add(-skew))
}

// apiServerSkew returns how far the clock of this machine is ahead of the API server's.
func (d *doctor) apiServerSkew(ctx context.Context) (time.Duration, error) {
	config, err := d.RESTConfig()
	if err != nil {
		return 0, err
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return 0, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("version").String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	response, err := c.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	theirs, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return 0, err
	}
	middle := began.Add(time.Since(began) / 2)
	const half = 500 * time.Millisecond // of the second that the header cuts off
	return middle.Sub(theirs.Add(half)), nil
}

// checkLease checks the operator that sends through the server, by the API server's time.
func (d *doctor) checkLease(ctx context.Context, now time.Time) {
	by := d.target.server.Status.ManagedBy
	if by == nil {
		d.report(resultWarn, "lease", "no operator sends through it yet: it is claimed before the first message")
		return
	}
	name := by.LeaseNamespace + "/" + by.LeaseName
	lease := &coordinationv1.Lease{}
	err := d.target.client.Get(ctx, client.ObjectKey{Namespace: by.LeaseNamespace, Name: by.LeaseName}, lease)
	switch {
	case apierrors.IsForbidden(err):
		d.report(resultWarn, "lease", "not checked: you may not read Lease %s, which shows whether the operator runs", name)
		return
	case apierrors.IsNotFound(err):
		d.report(resultFail, "lease", "Lease %s does not exist: the operator that sent through the server does not run; "+
			"another one takes over after %s", name, maxLeaseAge)
		return
	case err != nil:
		d.report(resultFail, "lease", "Lease %s cannot be read: %v", name, err)
		return
	}
	result, message := judgeLease(lease, now)
	d.report(result, "lease", "Lease %s: %s", name, message)
}

// judgeLease says what a Lease shows.
func judgeLease(lease *coordinationv1.Lease, now time.Time) (result, message string) {
	holder := lease.Spec.HolderIdentity
	if holder == nil || *holder == "" || lease.Spec.RenewTime == nil {
		return resultFail, "no operator holds it: start the operator"
	}
	since := now.Sub(lease.Spec.RenewTime.Time)
	switch {
	case since > maxLeaseAge:
		return resultFail, fmt.Sprintf("%s has not renewed it for %s: check that the operator runs", *holder,
			since.Round(time.Second))
	case since < -maxSkew:
		return resultFail, fmt.Sprintf("the clock of the operator is %s ahead of the API server's: set the clock of its node",
			(-since).Round(time.Second))
	}
	return resultOK, fmt.Sprintf("%s has renewed it %s ago", *holder, max(since, 0).Round(time.Second))
}

func aheadOrBehind(skew time.Duration) string {
	if skew > 0 {
		return "ahead of"
	}
	return "behind"
}
