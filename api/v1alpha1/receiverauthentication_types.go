// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ReceiverAuthentication describes how callers are authenticated. Exactly one of its fields must be set.
//
// +kubebuilder:validation:ExactlyOneOf=tokenSecretRef;basicSecretRef;hmacSecretRef
type ReceiverAuthentication struct {
	// tokenSecretRef selects the token that callers send. It is accepted in one of these places: "Authorization: Bearer
	// <token>"; "?token=", "?access_token=" or "?key=" in the URL; "X-Gitlab-Token: <token>"; or the last segment of the
	// path, after status.path.
	// +optional
	TokenSecretRef *TokenSecretRef `json:"tokenSecretRef,omitempty"`

	// basicSecretRef selects the user name and the password that callers send as HTTP Basic authentication.
	// +optional
	BasicSecretRef *BasicSecretRef `json:"basicSecretRef,omitempty"`

	// hmacSecretRef selects the key with which callers sign requests.
	// +optional
	HMACSecretRef *HMACSecretRef `json:"hmacSecretRef,omitempty"`
}

// TokenSecretRef selects a key of a Secret in the same namespace.
type TokenSecretRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is a key in data of the Secret. A newline at the end of its value is ignored.
	// +optional
	// +kubebuilder:default=token
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// BasicSecretRef selects a Secret in the same namespace with the keys username and password, as Secrets of type
// kubernetes.io/basic-auth have. A newline at the end of a value is ignored.
type BasicSecretRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// SignatureEncoding is the text encoding of a signature.
//
// +kubebuilder:validation:Enum=hex;base64
type SignatureEncoding string

// Encodings of signatures.
const (
	EncodingHex    SignatureEncoding = "hex"
	EncodingBase64 SignatureEncoding = "base64"
)

// HMACSecretRef selects a key of a Secret in the same namespace, and describes the signature of the requests.
type HMACSecretRef struct {
	TokenSecretRef `json:",inline"`

	// header is the header with the HMAC-SHA256 of the body. The value may begin with "sha256=". If unset, it is
	// X-Hub-Signature-256, X-Signature (Flux) or X-Grafana-Alerting-Signature (Grafana). If unset with type DingTalk or
	// Feishu, the service's timestamp and sign are checked instead: DingTalk's in the URL, Feishu's in the body. The
	// timestamp may be at most one hour off.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-a-zA-Z0-9]+$`
	Header string `json:"header,omitempty"`

	// encoding is the encoding of the header's value: hex or base64. If unset, it is hex.
	// +optional
	Encoding SignatureEncoding `json:"encoding,omitempty"`
}
