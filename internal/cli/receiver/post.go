// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
)

const (
	// postTimeout is longer than a gateway takes to answer.
	postTimeout = 20 * time.Second
	// maxAnswer is far more than a gateway answers, in bytes.
	maxAnswer = 1 << 20
)

// poster posts a body to a receiver as its callers do.
type poster struct {
	client client.Client
	// token is that of the cluster, for a receiver without authentication of its own.
	token string
	now   func() time.Time
}

// answer is what a gateway says. Services' own forms have less.
type answer struct {
	code       int
	text       string
	Messages   []string `json:"messages"`
	Duplicates int      `json:"duplicates"`
	Suppressed int      `json:"suppressed"`
	Filtered   int      `json:"filtered"`
	Error      string   `json:"error"`
	ErrMsg     string   `json:"errmsg"`
	Msg        string   `json:"msg"`
}

// problem is why the gateway has not taken the body.
func (a *answer) problem() string {
	for _, text := range []string{a.Error, a.ErrMsg, a.Msg, a.text} {
		if text = strings.TrimSpace(text); text != "" {
			return kube.Shorten(text) // a proxy may answer with a page
		}
	}
	return http.StatusText(a.code)
}

// request returns the request of a caller, and its body.
func (p *poster) request(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, secret *corev1.Secret, gateway *url.URL, body []byte,
) (*http.Request, []byte, error) {
	if isFeishuSigned(r) {
		var err error
		if body, err = signFeishu(body, secret.Data[r.Spec.Authentication.HMACSecretRef.Key], p.now()); err != nil {
			return nil, nil, err
		}
	}
	target := gateway.JoinPath(receiver.Path(client.ObjectKeyFromObject(r)))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	p.authenticate(request, r, secret, body)
	return request, body, nil
}

// secret reads the Secret that the receiver authenticates its callers with. Without one, the token must be set.
func (p *poster) secret(ctx context.Context, r *v1alpha1.TeamTalkReceiver) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	name := r.SecretName()
	switch {
	case name == "" && p.token == "":
		return nil, fmt.Errorf("the receiver has no authentication of its own, so the gateway asks for a token of the " +
			"cluster: use --caller-token \"$(kubectl create token ACCOUNT)\" of an account that may create " +
			"TeamTalkMessages in the namespace")
	case name == "":
		return secret, nil
	}
	err := p.client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, secret)
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not read Secret %q in namespace %q, with which callers of the receiver "+
			"authenticate: ask for get on this Secret, or use --dry-run, which only renders", name, r.Namespace)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("namespace %q has no Secret %q, with which callers of the receiver authenticate: "+
			"create it, or correct spec.authentication", r.Namespace, name)
	}
	return secret, err
}

// authenticate adds what the receiver asks its callers for.
func (p *poster) authenticate(
	request *http.Request, r *v1alpha1.TeamTalkReceiver, secret *corev1.Secret, body []byte,
) {
	value := func(key string) string { return strings.TrimRight(string(secret.Data[key]), "\r\n") }
	a := r.Spec.Authentication
	switch {
	case a == nil:
		request.Header.Set("Authorization", "Bearer "+p.token)
	case a.TokenSecretRef != nil:
		request.Header.Set("Authorization", "Bearer "+value(a.TokenSecretRef.Key))
	case a.BasicSecretRef != nil:
		request.SetBasicAuth(value(corev1.BasicAuthUsernameKey), value(corev1.BasicAuthPasswordKey))
	case a.HMACSecretRef != nil:
		p.sign(request, r, []byte(value(a.HMACSecretRef.Key)), body)
	}
}

func isFeishuSigned(r *v1alpha1.TeamTalkReceiver) bool {
	a := r.Spec.Authentication
	return a != nil && a.HMACSecretRef != nil && a.HMACSecretRef.Header == "" && r.Spec.Type == v1alpha1.ReceiverFeishu
}

// sign signs a request. The body of Feishu is signed already.
func (p *poster) sign(request *http.Request, r *v1alpha1.TeamTalkReceiver, key, body []byte) {
	ref := r.Spec.Authentication.HMACSecretRef
	header := ref.Header
	switch {
	case isFeishuSigned(r):
		return
	case header == "" && r.Spec.Type == v1alpha1.ReceiverDingTalk:
		timestamp := strconv.FormatInt(p.now().UnixMilli(), 10)
		query := request.URL.Query()
		query.Set("timestamp", timestamp)
		query.Set("sign", base64.StdEncoding.EncodeToString(sum(key, []byte(timestamp+"\n"+string(key)))))
		request.URL.RawQuery = query.Encode()
		return
	case header == "":
		header = "X-Hub-Signature-256"
	}
	signature := hex.EncodeToString(sum(key, body))
	if ref.Encoding == v1alpha1.EncodingBase64 {
		signature = base64.StdEncoding.EncodeToString(sum(key, body))
	}
	request.Header.Set(header, "sha256="+signature)
}

// signFeishu adds Feishu's timestamp and sign to a body.
func signFeishu(body, key []byte, now time.Time) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("the payload is not a JSON object, as Feishu's are: %w", err)
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	key = bytes.TrimRight(key, "\r\n")
	sign := base64.StdEncoding.EncodeToString(sum([]byte(timestamp+"\n"+string(key)), nil))
	fields["timestamp"], fields["sign"] = []byte(strconv.Quote(timestamp)), []byte(strconv.Quote(sign))
	return json.Marshal(fields)
}

func sum(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}

// post sends a request. The error is one line, without the credentials that the URL may have.
func post(request *http.Request, to *route) (*answer, error) {
	c := &http.Client{
		Timeout:       postTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	advice := "check --gateway; without it, a port is forwarded to a pod of the gateway"
	if to.isPod {
		advice = "check the pod"
		c.Transport = &http.Transport{
			//nolint:gosec // the certificate is for the name of a Service, and the forwarded port leads to this pod alone
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		}
	}
	response, err := c.Do(request)
	if err != nil {
		if fault, ok := errors.AsType[*url.Error](err); ok { // it has the URL
			err = fault.Err
		}
		return nil, fmt.Errorf("%s cannot be reached from here: %w: %s", to.name, err, advice)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the gateway: %w", err)
	}
	a := &answer{code: response.StatusCode, text: string(text)}
	_ = json.Unmarshal(text, a) // Slack's form is no JSON
	return a, nil
}
