// SPDX-License-Identifier: Apache-2.0

package fairqueue

import "context"

type tenantKey struct{}

// WithTenant returns a context for the requests of a tenant.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

// TenantOf returns the tenant of a context. "" is the tenant of work that is done for all tenants together.
func TenantOf(ctx context.Context) string {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}
