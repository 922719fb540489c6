// SPDX-License-Identifier: Apache-2.0

package pagedlist

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"
)

// pageSize is how many objects a page has, as with client-go's pager.
const pageSize = 500

// Constructor is the type of cache.Options.NewInformer.
type Constructor = func(
	cache.ListerWatcher, runtime.Object, time.Duration, cache.Indexers,
) cache.SharedIndexInformer

// lister lists the objects of one resource page by page.
type lister struct {
	cache.ListerWatcher
	cache.ListerWatcherWithContext
	client    rest.Interface
	resource  string
	list      client.ObjectList
	transform cache.TransformFunc
}

// NewInformer returns a constructor of informers. Those of the object's type read the lists of a custom resource page
// by page, in all namespaces. Those of other types do what client-go does. The transform must accept its own result:
// the cache applies it again.
func NewInformer(
	cfg *rest.Config, group schema.GroupVersion, resource string, object client.Object, list client.ObjectList,
	transform cache.TransformFunc,
) (Constructor, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/apis", &group
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion() // of errors
	rc, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("set up the lists of %s: %w", resource, err)
	}
	return func(
		lw cache.ListerWatcher, of runtime.Object, resync time.Duration, indexers cache.Indexers,
	) cache.SharedIndexInformer {
		if reflect.TypeOf(of) == reflect.TypeOf(object) {
			lw = &lister{lw, cache.ToListerWatcherWithContext(lw), rc, resource, list, transform}
		}
		return cache.NewSharedIndexInformer(lw, of, resync, indexers)
	}, nil
}

// IsWatchListSemanticsUnSupported tells client-go to list rather than to stream.
func (*lister) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext implements cache.ListerWithContext. It reads the newest version, whatever o asks for: an older one
// has no pages.
func (l *lister) ListWithContext(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	all, err := l.readPages(ctx, pageSize)
	if apierrors.IsResourceExpired(err) {
		// The API server has dropped the version of the first pages: read everything at once.
		all, err = l.readPages(ctx, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of %s: %w", l.resource, err)
	}
	return all, nil
}

// readPages returns all objects. It reads pages of a size, or one with everything if the size is 0.
func (l *lister) readPages(ctx context.Context, size int64) (*metainternalversion.List, error) {
	all := &metainternalversion.List{}
	// Without a buffer, the pager reads at most one page ahead.
	pages := &pager.ListPager{PageSize: size, PageFn: l.readPage}
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(page runtime.Object) error {
		list := l.list.DeepCopyObject().(client.ObjectList)
		if err := kjson.UnmarshalCaseSensitivePreserveInts(page.(*runtime.Unknown).Raw, list); err != nil {
			return err
		}
		all.ResourceVersion = list.GetResourceVersion() // the same one in all pages
		// The copies let go of the array that all objects of a page are decoded into.
		return meta.EachListItemWithAlloc(list, func(o runtime.Object) error {
			transformed, err := l.transform(o)
			if err != nil {
				return err
			}
			object, ok := transformed.(runtime.Object)
			if !ok {
				return fmt.Errorf("the transform has returned a %T", transformed)
			}
			all.Items = append(all.Items, object)
			return nil
		})
	})
	return all, err
}

// readPage is a pager.ListPageFunc. It decodes only the metadata of a page, whose one item is the undecoded page: the
// pager can request the next page before this one is decoded.
func (l *lister) readPage(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	result := l.client.Get().Resource(l.resource).VersionedParams(&o, metav1.ParameterCodec).Do(ctx)
	if err := result.Error(); err != nil { // Raw would not decode the API server's error
		return nil, err
	}
	body, err := result.Raw()
	if err != nil {
		return nil, err
	}
	listMeta, err := metaOf(body)
	return &metainternalversion.List{ListMeta: listMeta, Items: []runtime.Object{&runtime.Unknown{Raw: body}}}, err
}

// metaOf returns the metadata of a list. API servers write it after the items of custom resources. To look there
// first saves a third of the time of decoding. Quotes within strings are escaped, so only a key matches, and only the
// list's own metadata is followed by the end of the list.
func metaOf(body []byte) (metav1.ListMeta, error) {
	const key = `"metadata":`
	if i := bytes.LastIndex(body, []byte(key)); i >= 0 {
		if tail, ok := bytes.CutSuffix(bytes.TrimSpace(body[i+len(key):]), []byte("}")); ok {
			var m metav1.ListMeta
			if json.Unmarshal(tail, &m) == nil {
				return m, nil
			}
		}
	}
	var list struct {
		metav1.ListMeta `json:"metadata"`
	}
	err := json.Unmarshal(body, &list)
	return list.ListMeta, err
}
