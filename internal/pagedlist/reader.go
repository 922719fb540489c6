// SPDX-License-Identifier: Apache-2.0

package pagedlist

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	kjson "sigs.k8s.io/json"
)

// Reader reads the lists of one kind. It decodes a page when the next one is under way,
// and once: client-go decodes it before anybody can know where the next one begins, and
// looks for its kind first, which is a third of the work.
type Reader struct {
	of       reflect.Type
	scheme   *runtime.Scheme
	list     schema.GroupVersionKind
	resource string
	client   rest.Interface
}

// NewReader returns a Reader of the kind that of is an object of, and which the API
// server has as a resource of the given name, in all namespaces.
func NewReader(cfg *rest.Config, scheme *runtime.Scheme, of runtime.Object, resource string) (Reader, error) {
	kinds, _, err := scheme.ObjectKinds(of)
	if err != nil {
		return Reader{}, fmt.Errorf("read lists of %s: %w", resource, err)
	}
	group := kinds[0].GroupVersion()
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/apis", &group
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion() // of errors
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return Reader{}, fmt.Errorf("read lists of %s: %w", resource, err)
	}
	return Reader{
		of: reflect.TypeOf(of), scheme: scheme, list: group.WithKind(kinds[0].Kind + "List"), resource: resource,
		client: client,
	}, nil
}

// reads reports whether it reads lists of objects such as of.
func (r Reader) reads(of runtime.Object) bool { return reflect.TypeOf(of) == r.of }

// read reads a page, and as much of it as tells where the next one begins.
func (r Reader) read(ctx context.Context, o metav1.ListOptions) (page, error) {
	res := r.client.Get().Resource(r.resource).VersionedParams(&o, metav1.ParameterCodec).Do(ctx)
	if err := res.Error(); err != nil { // Raw does not tell one from the other
		return page{}, err
	}
	body, err := res.Raw()
	if err != nil {
		return page{}, err
	}
	listMeta, err := metaOf(body)
	if err != nil {
		return page{}, fmt.Errorf("read a page of %s: %w", r.resource, err)
	}
	return page{ListMeta: listMeta, list: func() (runtime.Object, error) {
		list, err := r.scheme.New(r.list)
		if err == nil {
			err = kjson.UnmarshalCaseSensitivePreserveInts(body, list)
		}
		return list, err
	}}, nil
}

// metaOf returns the metadata of a list. API servers write those of custom resources
// after the items, so that to look there is enough: all of the list is a third as much
// work to go through as to decode. A quote within a string is never a bare one, and what
// is the list's own metadata is followed by the list's end.
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
