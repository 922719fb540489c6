package framework

import (
	"fmt"
	"net"
)

// FreeAddresses returns loopback addresses that nobody listens at.
func FreeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // after all are chosen, so that they differ
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}
