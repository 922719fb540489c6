// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"cmp"
	"net/http"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
)

// Code is an error_code of http_msg_server.
type Code int

// The codes in use here. Code 6 is for addresses that may not send.
const (
	CodeOK             Code = 0
	CodeBadParameter   Code = 1
	CodeNoSuchKey      Code = 2
	CodeKeyNotForUser  Code = 3
	CodeIDNotAllowed   Code = 4
	CodeNotAuthorized  Code = 5
	CodeBadType        Code = 7
	CodeUnknown        Code = 8
	CodeServerFault    Code = 10
	CodeCreateGroup    Code = 11
	CodeChangeMembers  Code = 12
	CodeEncryptionFail Code = 13
)

// messages are the error_msg texts of http_msg_server. Callers may compare them.
var messages = map[Code]string{
	CodeOK:             "成功",
	CodeBadParameter:   "参数错误",
	CodeNoSuchKey:      "appKey不存在",
	CodeKeyNotForUser:  "appKey与用户不匹配",
	CodeIDNotAllowed:   "含有不允许发送的Id",
	CodeNotAuthorized:  "未授权的接口",
	CodeBadType:        "非法的发送类型",
	CodeUnknown:        "未知错误",
	CodeServerFault:    "服务器异常",
	CodeCreateGroup:    "创建群失败",
	CodeChangeMembers:  "更改群成员失败",
	CodeEncryptionFail: "消息加密失败",
}

// codes of the API's reasons.
var codes = map[string]Code{
	v1alpha1.ReasonContentEmpty:          CodeBadParameter,
	v1alpha1.ReasonContentInvalid:        CodeBadParameter,
	v1alpha1.ReasonContentTooLong:        CodeBadParameter,
	v1alpha1.ReasonKeyReused:             CodeBadParameter,
	v1alpha1.ReasonSenderNotFound:        CodeKeyNotForUser,
	v1alpha1.ReasonSenderNotPermitted:    CodeKeyNotForUser,
	v1alpha1.ReasonSendToSelf:            CodeIDNotAllowed,
	v1alpha1.ReasonRecipientNotFound:     CodeIDNotAllowed,
	v1alpha1.ReasonRecipientDeparted:     CodeIDNotAllowed,
	v1alpha1.ReasonGroupNotFound:         CodeIDNotAllowed,
	v1alpha1.ReasonSenderNotInGroup:      CodeIDNotAllowed,
	v1alpha1.ReasonRecipientNotPermitted: CodeIDNotAllowed,
	v1alpha1.ReasonKeyNotFound:           CodeEncryptionFail,
	v1alpha1.ReasonKeyInvalid:            CodeEncryptionFail,
	v1alpha1.ReasonOutcomeUnknown:        CodeUnknown,
}

// codeOf returns the code for one of the API's reasons. By default the server is at fault.
func codeOf(reason string) Code { return cmp.Or(codes[reason], CodeServerFault) }

// denials are the codes and HTTP statuses of denials. Callers that send an app_key expect 200.
var denials = map[access.Kind]response{
	access.Unauthenticated: {Code: CodeNotAuthorized, status: http.StatusUnauthorized},
	access.Forbidden:       {Code: CodeNotAuthorized, status: http.StatusForbidden},
	access.UnknownKey:      {Code: CodeNoSuchKey},
	access.NoGroups:        {Code: CodeNotAuthorized},
	access.WrongNamespace:  {Code: CodeKeyNotForUser},
	access.Unavailable:     {Code: CodeServerFault, status: http.StatusServiceUnavailable},
}
