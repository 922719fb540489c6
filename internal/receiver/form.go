// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// reason is the reason of an answer other than 200, as far as the services tell it to their callers.
type reason int

const (
	// byStatus: the status code says it.
	byStatus reason = iota
	// unavailable: the caller must retry.
	unavailable
	// tooFast: too many requests at once. The caller must retry.
	tooFast
	invalidToken
	invalidSignature
	// forbidden: the caller may not post to this receiver, or not with this method.
	forbidden
	notFound
	invalidBody
	messageType
	noText
	bodyTooLarge
)

// why returns the reason of an answer.
func (a answer) why() reason {
	if a.reason != byStatus {
		return a.reason
	}
	switch a.code {
	case http.StatusBadRequest:
		return invalidBody
	case http.StatusUnauthorized:
		return invalidToken
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		return forbidden
	case http.StatusNotFound:
		return notFound
	case http.StatusRequestEntityTooLarge:
		return bodyTooLarge
	}
	return unavailable
}

// reasonOf returns the reason of an error of notification.Decode.
func reasonOf(err error) reason {
	switch {
	case errors.Is(err, notification.ErrNoText):
		return noText
	case errors.Is(err, notification.ErrMessageType):
		return messageType
	}
	return byStatus
}

// form writes an answer as the callers of a service expect it. The status code is a Handler's for all of them: the
// services of DingTalk, WeCom and Feishu answer refused requests with 200, and a caller that checks only the status
// would lose the message.
type form func(a answer) (contentType string, body []byte)

// forms are those of the types of receivers. Others have plainForm.
var forms = map[v1alpha1.ReceiverType]form{
	v1alpha1.ReceiverSlack:    slackForm,
	v1alpha1.ReceiverDingTalk: robotForm(dingTalkCodes),
	v1alpha1.ReceiverWeCom:    robotForm(weComCodes),
	v1alpha1.ReceiverFeishu:   feishuForm,
}

// formOf returns the form of a receiver.
func formOf(r *v1alpha1.TeamTalkReceiver) form {
	if f, ok := forms[r.Spec.Type]; ok {
		return f
	}
	return plainForm
}

// isSigned reports whether a request has a signature in its headers or its URL.
func isSigned(req *http.Request) bool {
	return req.URL.Query().Has("sign") || slices.ContainsFunc(signatureHeaders, func(name string) bool {
		return req.Header.Get(name) != ""
	})
}

// formFor returns the form for a caller who is not authenticated. It depends on nothing but the request, so that it
// does not tell whether there is such a receiver.
func formFor(req *http.Request) form {
	query := req.URL.Query()
	mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	switch {
	case query.Has("access_token"):
		return forms[v1alpha1.ReceiverDingTalk]
	case query.Has("key"):
		return forms[v1alpha1.ReceiverWeCom]
	case mediaType == "application/x-www-form-urlencoded":
		return forms[v1alpha1.ReceiverSlack]
	}
	return anyForm
}

// plainForm is the gateway's own.
func plainForm(a answer) (string, []byte) { return encodeForm(a) }

// anyForm is the gateway's own with the fields of Feishu's, for callers who may be of any service.
func anyForm(a answer) (string, []byte) {
	if a.code == http.StatusOK {
		return plainForm(a)
	}
	return encodeForm(struct {
		answer
		feishuAnswer
	}{a, newFeishuAnswer(a)})
}

func encodeForm(v any) (string, []byte) {
	body, _ := json.Marshal(v) // texts and numbers
	return "application/json", append(body, '\n')
}

// slackErrors are what Slack's incoming webhooks answer with. invalid_payload, action_prohibited and rollup_error
// (errors that are not the caller's fault) are in
// https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks, the others in
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors. Of these, invalid_token
// (https://github.com/zulip/zulip/issues/14251) and no_service
// (https://github.com/slackapi/slack-github-action/issues/249) were seen in answers. There is no word for a body that
// is too large.
var slackErrors = map[reason]string{
	unavailable: "rollup_error", tooFast: "rollup_error", invalidToken: "invalid_token", invalidSignature: "invalid_token",
	forbidden: "action_prohibited", notFound: "no_service", invalidBody: "invalid_payload", messageType: "invalid_payload",
	noText: "no_text", bodyTooLarge: "invalid_payload",
}

// slackForm is Slack's: a word.
func slackForm(a answer) (string, []byte) {
	word := "ok"
	if a.code != http.StatusOK {
		word = slackErrors[a.why()]
	}
	return "text/plain; charset=utf-8", []byte(word)
}

// dingTalkCodes are the errcodes of DingTalk's custom robots, see
// https://open.dingtalk.com/document/orgapp/custom-robot-access for 310000 (signature, keywords, IP address),
// 40035 (a parameter is missing), 400105 (message type) and -1 (busy). Callers saw 310000 for a signature
// (https://github.com/jenkinsci/dingtalk-plugin/issues/88), 300001 for an access_token
// (https://github.com/sdvdxl/falcon-message/issues/7), and 130101 for more than 20 messages in a minute.
var dingTalkCodes = map[reason]int{
	unavailable: -1, tooFast: 130101, invalidToken: 300001, invalidSignature: 310000, forbidden: 310000, notFound: 300001,
	invalidBody: 40035, messageType: 400105, noText: 40035, bodyTooLarge: 40035,
}

// weComCodes are the errcodes of WeCom, see https://developer.work.weixin.qq.com/document/path/90313: 45009 (too many
// calls), 44004 (no text), 40008 (msgtype), 40058 (a parameter is wrong) and -1 (busy). Group robots answer 40058 to a
// text that is too long, and 93000 to a wrong key in the URL (https://github.com/wes-lin/Cloud189Checkin/issues/175).
var weComCodes = map[reason]int{
	unavailable: -1, tooFast: 45009, invalidToken: 93000, invalidSignature: 93000, forbidden: 93000, notFound: 93000,
	invalidBody: 40058, messageType: 40008, noText: 44004, bodyTooLarge: 40058,
}

// robotForm returns the form of DingTalk and WeCom, with the codes of one of them.
func robotForm(codes map[reason]int) form {
	return func(a answer) (string, []byte) {
		robot := struct {
			Code    int    `json:"errcode"`
			Message string `json:"errmsg"`
		}{Message: "ok"}
		if a.code != http.StatusOK {
			robot.Code, robot.Message = codes[a.why()], a.Error
		}
		return encodeForm(robot)
	}
}

// feishuCodes are the codes of Feishu's custom bots, see
// https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot: 19021 (signature or its time), 9499 (the body,
// which must not be too large either), 11232 (too many calls, or the system is busy). 19001 is what the service answers
// to a wrong token in the URL (https://github.com/sansan0/TrendRadar/issues/278 quotes its text).
var feishuCodes = map[reason]int{
	unavailable: 11232, tooFast: 11232, invalidToken: 19001, invalidSignature: 19021, forbidden: 19001, notFound: 19001,
	invalidBody: 9499, messageType: 9499, noText: 9499, bodyTooLarge: 9499,
}

// feishuAnswer is the format of Feishu's answers.
type feishuAnswer struct {
	Code    int      `json:"code"`
	Data    struct{} `json:"data"`
	Message string   `json:"msg"`
}

func newFeishuAnswer(a answer) feishuAnswer {
	if a.code == http.StatusOK {
		return feishuAnswer{Message: "success"}
	}
	return feishuAnswer{Code: feishuCodes[a.why()], Message: a.Error}
}

// feishuForm is Feishu's. On success it has the fields of the first version of its API too, which callers may check.
func feishuForm(a answer) (string, []byte) {
	if a.code != http.StatusOK {
		return encodeForm(newFeishuAnswer(a))
	}
	return encodeForm(struct {
		StatusCode    int
		StatusMessage string
		feishuAnswer
	}{0, "success", newFeishuAnswer(a)})
}
