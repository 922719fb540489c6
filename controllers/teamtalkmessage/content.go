package teamtalkmessage

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

// Image marker of TeamTalk's clients: the URL between them is shown as a picture.
const (
	imageOpen  = "&$#@~^@[{:"
	imageClose = ":}]&$~@#@"
)

// maxAudio keeps a voice message, in bytes, within what reaches every client.
const maxAudio = pdu.MaxToClients - 1<<10

// payload makes what is sent. A problem is terminal, unless it comes with a
// not-found or forbidden error: then it is what the message waits for.
func (r *Reconciler) payload(ctx context.Context, s *scope) (delivery.Payload, *v1alpha1.Cause, error) {
	var text []byte
	switch c := s.message.Spec.Content; {
	case c.Text != nil:
		text = []byte(*c.Text)
	case c.JSON != nil:
		compact, err := compactJSON(c.JSON)
		if err != nil {
			bad := &v1alpha1.Cause{Reason: v1alpha1.ReasonContentInvalid, Message: "content.json is not JSON"}
			return delivery.Payload{}, bad, nil //nolint:nilerr // the user's to mend, not to be tried again
		}
		text = compact
	case c.Image != nil:
		text = []byte(imageOpen + c.Image.URL + imageClose + c.Image.Caption)
	case c.TextFrom != nil:
		data, missing, err := r.configMapKey(ctx, s, c.TextFrom.ConfigMapKeyRef)
		if err != nil {
			return delivery.Payload{}, missing, err
		}
		text = data
	case c.Audio != nil:
		return r.audio(ctx, s, *c.Audio)
	}
	payload, bad := textPayload(text, s)
	return payload, bad, nil
}

// textPayload makes one message of a text, or several where it is too long and may
// be split.
func textPayload(text []byte, s *scope) (delivery.Payload, *v1alpha1.Cause) {
	tokens := s.server.Spec.DeliveryToken != v1alpha1.DeliveryTokenDisabled
	limit := cipher.MaxText
	if tokens {
		limit = cipher.MaxTextWithToken
	}
	if bad := checkText(text); bad != nil {
		return delivery.Payload{}, bad
	}
	if len(text) <= limit {
		return delivery.Payload{Data: text}, nil
	}
	c := s.message.Spec.Content
	switch splits := s.message.Spec.LongText == v1alpha1.LongTextSplit; {
	case !splits:
		return delivery.Payload{}, tooLong(len(text), limit, "shorten it, or set longText: Split")
	case c.Text == nil && c.TextFrom == nil:
		return delivery.Payload{}, tooLong(len(text), limit, "shorten it; only text and textFrom can be split")
	case !tokens:
		// Its parts could not be told from one another in the store.
		return delivery.Payload{}, tooLong(len(text), limit, "shorten it; longText: Split needs the server's deliveryToken: Enabled")
	case len(text) > v1alpha1.MaxTextBytes:
		return delivery.Payload{}, tooLong(len(text), v1alpha1.MaxTextBytes, "shorten it; not even split can it be longer")
	}
	parts := split(string(text), limit)
	if len(parts) > v1alpha1.MaxParts {
		return delivery.Payload{}, tooLong(len(text), v1alpha1.MaxParts*limit, "shorten it; it takes more than 20 parts")
	}
	return delivery.Payload{Data: parts[0], Rest: parts[1:]}, nil
}

func tooLong(length, limit int, advice string) *v1alpha1.Cause {
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonContentTooLong, Message: fmt.Sprintf("the text has %d bytes, at most %d can be sent: %s", length, limit, advice)}
}

// compactJSON writes an object without blanks, keys sorted. Characters that the
// API server escapes for browsers are written as they are: people read this.
func compactJSON(object map[string]v1alpha1.JSONValue) ([]byte, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	e := json.NewEncoder(&compact)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(compact.Bytes(), []byte("\n")), nil
}

// checkText refuses what TeamTalk would lose in silence.
func checkText(text []byte) *v1alpha1.Cause {
	switch {
	case len(text) == 0:
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonContentEmpty, Message: "the text is empty: TeamTalk would not answer"}
	case !utf8.Valid(text):
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonContentInvalid, Message: "the text is not valid UTF-8"}
	case bytes.IndexByte(text, 0) >= 0:
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonContentInvalid, Message: "the text holds a NUL byte, at which clients would cut it"}
	}
	return nil
}

// audio makes a voice message: seconds, then the sound.
func (r *Reconciler) audio(ctx context.Context, s *scope, c v1alpha1.AudioContent) (delivery.Payload, *v1alpha1.Cause, error) {
	sound, missing, err := r.configMapKey(ctx, s, c.ConfigMapKeyRef)
	if err != nil {
		return delivery.Payload{}, missing, err
	}
	switch {
	case len(sound) == 0:
		return delivery.Payload{}, &v1alpha1.Cause{Reason: v1alpha1.ReasonContentEmpty, Message: "the audio is empty"}, nil
	case len(sound) > maxAudio:
		return delivery.Payload{}, &v1alpha1.Cause{Reason: v1alpha1.ReasonContentTooLong, Message: fmt.Sprintf(
			"the audio has %d bytes, clients take %d: shorten it", len(sound), maxAudio)}, nil
	}
	data := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(sound)), uint32(c.Seconds))
	return delivery.Payload{Audio: true, Data: append(data, sound...)}, nil, nil
}

// configMapKey reads one key of a ConfigMap, in data or binaryData. Where it is
// missing, the ConfigMap is watched and the error is a not-found.
func (r *Reconciler) configMapKey(ctx context.Context, s *scope, ref v1alpha1.ConfigMapKeyRef) ([]byte, *v1alpha1.Cause, error) {
	key := types.NamespacedName{Namespace: s.message.Namespace, Name: ref.Name}
	cm := &corev1.ConfigMap{}
	// Read, and where it is missing watched and read again: so that it cannot
	// appear in between, and what is there from the start needs no watch.
	for range 2 {
		err := r.Client.Get(ctx, key, cm)
		if apierrors.IsForbidden(err) {
			r.ConfigMaps.Watch(client.ObjectKeyFromObject(s.message), key)
			return nil, &v1alpha1.Cause{Reason: v1alpha1.ReasonContentNotFound, Message: fmt.Sprintf(
				"the operator may not read ConfigMap %q in namespace %q: grant it get, list and watch of it, see \"Access to namespaces\" in docs/install.md",
				ref.Name, key.Namespace)}, err
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("read ConfigMap %s: %w", key, err)
		}
		if text, ok := cm.Data[ref.Key]; ok {
			return []byte(text), nil, nil
		}
		if data, ok := cm.BinaryData[ref.Key]; ok {
			return data, nil, nil
		}
		r.ConfigMaps.Watch(client.ObjectKeyFromObject(s.message), key)
	}
	return nil, &v1alpha1.Cause{Reason: v1alpha1.ReasonContentNotFound, Message: fmt.Sprintf(
			"ConfigMap %q with key %q does not exist in namespace %q: create it", ref.Name, ref.Key, key.Namespace)},
		apierrors.NewNotFound(corev1.Resource("configmaps"), ref.Name)
}
