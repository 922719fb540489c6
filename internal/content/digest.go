// SPDX-License-Identifier: Apache-2.0

package content

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// Identify returns the digests of a text and of its segments.
func Identify(text []byte, p delivery.Payload) *v1alpha1.RecordedText {
	identified := &v1alpha1.RecordedText{Digest: hexDigest(text)}
	if len(p.Rest) > 0 {
		identified.SegmentDigests = append(identified.SegmentDigests, hexDigest(p.Data))
	}
	for _, segment := range p.Rest {
		identified.SegmentDigests = append(identified.SegmentDigests, hexDigest(segment))
	}
	return identified
}

func hexDigest(text []byte) string {
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}

// Digests returns the digests of a recorded text's segments.
func Digests(text *v1alpha1.RecordedText) (digests []delivery.TextDigest) {
	switch {
	case text == nil:
	case len(text.SegmentDigests) == 0:
		digests = append(digests, ParseDigest(text.Digest))
	default:
		for _, segment := range text.SegmentDigests {
			digests = append(digests, ParseDigest(segment))
		}
	}
	return digests
}

// ParseDigest returns a digest that Identify has written, or one that no text has.
func ParseDigest(recorded string) (digest delivery.TextDigest) {
	if b, err := hex.DecodeString(recorded); err == nil {
		copy(digest[:], b)
	}
	return digest
}
