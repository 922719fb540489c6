// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// signWindow is how far the timestamp of DingTalk's and of Feishu's sign may be from now. Both document one hour.
const signWindow = time.Hour

// signatureHeaders have the signature of a body if the receiver names no header: those of GitHub
// (https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries), of Flux's provider generic-hmac
// (https://fluxcd.io/flux/components/notification/providers/#generic-webhook-with-hmac), and of Grafana's contact point
// Webhook.
var signatureHeaders = []string{"X-Hub-Signature-256", "X-Signature", "X-Grafana-Alerting-Signature"}

// signatureVerifier verifies the form of signature that a receiver requires.
func signatureVerifier(r *v1alpha1.TeamTalkReceiver, secret []byte, now func() time.Time) *verifier {
	ref := r.Spec.Authentication.HMACSecretRef
	headers := signatureHeaders
	switch {
	case ref.Header != "":
		headers = []string{ref.Header}
	case r.Spec.Type == v1alpha1.ReceiverDingTalk:
		return &verifier{head: func(req *http.Request) bool {
			query := req.URL.Query()
			return dingTalkSigned(query.Get("timestamp"), query.Get("sign"), secret, now())
		}}
	case r.Spec.Type == v1alpha1.ReceiverFeishu:
		return &verifier{body: func(req *http.Request, body []byte) bool {
			timestamp, sign := feishuSign(body, req.Header.Get("Content-Type"))
			return feishuSigned(timestamp, sign, secret, now())
		}}
	}
	return &verifier{body: func(req *http.Request, body []byte) bool {
		var signatures [][]byte
		for _, header := range headers {
			if s := parseSignature(req.Header.Get(header), ref.Encoding); s != nil {
				signatures = append(signatures, s)
			}
		}
		return bodySigned(signatures, body, secret)
	}}
}

// parseSignature returns the HMAC-SHA256 in a header: hexadecimal or base64, with or without "sha256=". It is nil if
// the header has none.
func parseSignature(header string, encoding v1alpha1.SignatureEncoding) []byte {
	text := strings.TrimPrefix(header, "sha256=")
	decode := hex.DecodeString
	if encoding == v1alpha1.EncodingBase64 {
		decode = base64.StdEncoding.DecodeString
	}
	signature, err := decode(text)
	if err != nil || len(signature) != sha256.Size {
		return nil
	}
	return signature
}

// bodySigned reports whether one of the signatures is that of the body.
func bodySigned(signatures [][]byte, body, secret []byte) bool {
	if len(signatures) == 0 {
		return false
	}
	return slices.ContainsFunc(callerSecrets(secret), func(secret []byte) bool {
		want := hmacSHA256(secret, body)
		return slices.ContainsFunc(signatures, func(got []byte) bool { return hmac.Equal(got, want) })
	})
}

// dingTalkSigned checks the sign of DingTalk's custom robots: the base64 of the HMAC-SHA256, by the secret, of the
// timestamp in milliseconds, a newline and the secret
// (https://open.dingtalk.com/document/robots/customize-robot-security-settings).
func dingTalkSigned(timestamp, sign string, secret []byte, now time.Time) bool {
	ms, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || !withinSignWindow(time.UnixMilli(ms), now) {
		return false
	}
	return isSign(sign, secret, func(secret []byte) []byte {
		return hmacSHA256(secret, stringToSign(timestamp, secret))
	})
}

// feishuSigned checks the sign of Feishu's custom bots: the base64 of the HMAC-SHA256 of nothing, by the timestamp in
// seconds, a newline and the secret
// (https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot).
func feishuSigned(timestamp, sign string, secret []byte, now time.Time) bool {
	s, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || !withinSignWindow(time.Unix(s, 0), now) {
		return false
	}
	return isSign(sign, secret, func(secret []byte) []byte {
		return hmacSHA256(stringToSign(timestamp, secret), nil)
	})
}

// feishuSign returns timestamp and sign of a body of a content type. Clients send the timestamp as a text or as a
// number.
func feishuSign(body []byte, contentType string) (timestamp, sign string) {
	var fields struct {
		Timestamp json.RawMessage `json:"timestamp"`
		Sign      string          `json:"sign"`
	}
	body, err := notification.ToUTF8(body, contentType)
	if err != nil || json.Unmarshal(body, &fields) != nil {
		return "", ""
	}
	return strings.Trim(string(fields.Timestamp), `"`), fields.Sign
}

// isSign reports whether the sign in base64 matches the secret.
func isSign(sign string, secret []byte, compute func(secret []byte) []byte) bool {
	// A "+" that was not escaped in the URL has become a space.
	got, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(sign, " ", "+"))
	return err == nil && slices.ContainsFunc(callerSecrets(secret), func(secret []byte) bool {
		return hmac.Equal(got, compute(secret))
	})
}

func stringToSign(timestamp string, secret []byte) []byte {
	return slices.Concat([]byte(timestamp), []byte("\n"), secret)
}

// withinSignWindow compares without a difference, which could overflow.
func withinSignWindow(t, now time.Time) bool {
	return !t.Before(now.Add(-signWindow)) && !t.After(now.Add(signWindow))
}

// callerSecrets are the secrets with which a caller may sign: that of the receiver without a newline at its end, and
// the same with a newline, as in a file.
func callerSecrets(secret []byte) [][]byte {
	return [][]byte{secret, slices.Concat(secret, []byte("\n")), slices.Concat(secret, []byte("\r\n"))}
}

func hmacSHA256(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}
