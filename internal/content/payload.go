// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"

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

// maxAudio is the longest voice message, in bytes, that reaches every client.
const maxAudio = pdu.MaxToClients - 1<<10

// Text returns the text of a content, or the value in its ConfigMap. A Cause is terminal.
func Text(c v1alpha1.Content, source []byte) ([]byte, *v1alpha1.Cause) {
	switch {
	case c.Text != nil:
		return []byte(*c.Text), nil
	case c.Image != nil:
		return []byte(imageOpen + c.Image.URL + imageClose + c.Image.Caption), nil
	case c.JSON != nil:
		text, err := compactJSON(c.JSON)
		if err != nil {
			return nil, &v1alpha1.Cause{Reason: v1alpha1.ReasonContentInvalid, Message: "content.json is not JSON"}
		}
		return text, nil
	}
	return source, nil
}

// Payload builds the payload from a spec and its text or sound. A Cause is terminal.
func Payload(spec v1alpha1.TeamTalkMessageSpec, source []byte, tokens bool) (delivery.Payload, *v1alpha1.Cause) {
	if c := spec.Content.Audio; c != nil {
		return audioPayload(c.Seconds, source)
	}
	return textPayload(source, spec, tokens)
}

func refusePayload(reason, message string) (delivery.Payload, *v1alpha1.Cause) {
	return delivery.Payload{}, &v1alpha1.Cause{Reason: reason, Message: message}
}

// textPayload builds one or several messages from a text. It refuses texts that TeamTalk would lose without an error.
func textPayload(text []byte, spec v1alpha1.TeamTalkMessageSpec, tokens bool) (delivery.Payload, *v1alpha1.Cause) {
	limit := cipher.MaxText
	if tokens {
		limit = cipher.MaxTextWithToken
	}
	tooLong := func(limit int, advice string) (delivery.Payload, *v1alpha1.Cause) {
		return refusePayload(v1alpha1.ReasonContentTooLong,
			fmt.Sprintf("the text has %d bytes, at most %d can be sent: shorten it%s", len(text), limit, advice))
	}
	switch {
	case len(text) == 0:
		return refusePayload(v1alpha1.ReasonContentEmpty, "the text is empty: TeamTalk would not answer")
	case !utf8.Valid(text):
		return refusePayload(v1alpha1.ReasonContentInvalid, "the text is not valid UTF-8")
	case bytes.IndexByte(text, 0) >= 0:
		return refusePayload(v1alpha1.ReasonContentInvalid, "the text has a NUL byte: clients truncate it there")
	case len(text) <= limit:
		return delivery.Payload{Data: text}, nil
	case spec.LongText != v1alpha1.LongTextSplit:
		return tooLong(limit, ", or set longText: Split")
	case spec.Content.Text == nil && spec.Content.TextFrom == nil:
		return tooLong(limit, "; only text and textFrom can be split")
	case !tokens:
		// Its segments could not be distinguished in the store.
		return tooLong(limit, "; longText: Split needs the server's deliveryToken: Enabled")
	case len(text) > v1alpha1.MaxTextBytes:
		return tooLong(v1alpha1.MaxTextBytes, "; this limit applies to split texts too")
	}
	segments := splitText(string(text), limit)
	if len(segments) > v1alpha1.MaxSegments {
		return tooLong(v1alpha1.MaxSegments*limit, "; it takes more than 20 segments")
	}
	return delivery.Payload{Data: segments[0], Rest: segments[1:]}, nil
}

// audioPayload builds a voice message: seconds, then the sound.
func audioPayload(seconds int32, sound []byte) (delivery.Payload, *v1alpha1.Cause) {
	switch {
	case len(sound) == 0:
		return refusePayload(v1alpha1.ReasonContentEmpty, "the audio is empty")
	case len(sound) > maxAudio:
		return refusePayload(v1alpha1.ReasonContentTooLong,
			fmt.Sprintf("the audio has %d bytes, clients accept at most %d: shorten it", len(sound), maxAudio))
	}
	data := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(sound)), uint32(seconds))
	return delivery.Payload{Audio: true, Data: append(data, sound...)}, nil
}

// compactJSON writes an object without blanks, keys sorted, and without the API server's escapes for browsers.
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
