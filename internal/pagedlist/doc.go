// SPDX-License-Identifier: Apache-2.0

// Package pagedlist provides an informer that reads its first list page by page.
//
// NewInformer returns the constructor for the options of a cache. client-go would stream the list, which decodes
// each event twice: 100,000 objects take four times as long. Without streams it would hold all of them whole. Here
// a page is decoded once and transformed while the API server works on the next one.
package pagedlist
