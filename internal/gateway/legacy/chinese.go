// SPDX-License-Identifier: Apache-2.0

package legacy

import "github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"

// chineseFormats are the formats of the gateway's details, and the same in Chinese. All values are strings there.
var chineseFormats = map[string]string{
	// The body and its fields.
	"the body is longer than %d bytes":                                           "请求体超过 %s 字节",
	"the body was not received completely and in time":                           "未能及时收到完整的请求体",
	"the body is empty: send a JSON object":                                      "请求体为空：请发送一个 JSON 对象",
	"the body is not UTF-8: convert it, for example from GBK, before it is sent": "请求体不是 UTF-8：请先转换编码（例如从 GBK）再发送",
	"the body has %s":                                      "请求体中%s",
	"too many control characters in texts":                 "文本里的控制字符过多",
	"the body is not JSON, at byte %d":                     "请求体不是合法的 JSON，错误在第 %s 字节",
	"the body must be a JSON object":                       "请求体必须是 JSON 对象",
	"the body has more than %d fields":                     "请求体的字段超过 %s 个",
	"objects and arrays are nested more than %d deep":      "对象和数组的嵌套超过 %s 层",
	"%s is missing":                                        "缺少字段 %s",
	"%s is empty":                                          "%s 为空",
	"%s must be %s":                                        "%s 必须是 %s",
	"%s must be a number from 1 to %d, or a string of one": "%s 必须是 1 到 %s 的数字，或这样的字符串",
	"%s must be a positive number, or a string of one":     "%s 必须是正数，或这样的字符串",
	"%s must be an array":                                  "%s 必须是数组",
	"%s must not hold more than %d":                        "%s 最多包含 %s 个",
	"%s must be a string":                                  "%s 必须是字符串",
	"%s has an unpaired surrogate":                         "%s 含有不成对的代理字符（surrogate）",
	"%s has a NUL: clients truncate it there":              "%s 含有 NUL 字符：客户端会在该处截断",
	"%s must be at most %d characters":                     "%s 最多 %s 个字符",
	"msg must be a string or an object, not a list":        "msg 必须是字符串或对象，不能是数组",
	"msg is empty: TeamTalk would not answer":              "msg 为空：TeamTalk 不会应答",
	"the text has %d bytes, at most %d can be sent: shorten it": "" +
		"文本有 %s 字节，最多可发送 %s 字节：请缩短",
	"1 (normal) or 2 (temporary)": "1（普通群）或 2（临时群）",
	"1 (add) or 2 (remove)":       "1（添加）或 2（移除）",
	"msg_type must be %d or %d (text to users) or %d (text to groups): nothing else can be sent here; " +
		"without it, the text is sent to users": "" +
		"msg_type 必须是 %s 或 %s（发给用户的文本）或 %s（发给群的文本）：此接口不支持其他类型；不填则发给用户",
	// The request.
	"send a JSON object with POST":                                 "请用 POST 发送一个 JSON 对象",
	"%s must be at most %d characters of ASCII":                    "%s 最多 %s 个 ASCII 字符",
	"wait must be seconds, from 0 to %d":                           "wait 必须是 0 到 %s 的秒数",
	"%s must not begin with %q: the gateway generates such keys":   "%s 不能以 %s 开头：这类键由网关自己生成",
	"user %d is the sender: TeamTalk stores no message to oneself": "用户 %s 就是发送者：TeamTalk 不保存发给自己的消息",
	"nothing is served at this path; served paths: %s":             "此路径没有提供服务；可用的路径有：%s",
	"internal error, see the gateway's log for this request id":    "内部错误，请用本次请求的 id 查看网关日志",
	"the gateway could not process the request: %s":                "网关未能处理该请求：%s",
	"try again later, and always with an %s, so that nothing is sent twice": "" +
		"请稍后重试，并始终带上 %s，以免重复发送",
	"check whether it is done, and try again later": "请先确认是否已完成，再稍后重试",
	"this gateway creates TeamTalkMessages and has no connection to TeamTalk: declare the group as a TeamTalkGroup, " +
		"or change it through a gateway with --mode direct": "" +
		"此网关只创建 TeamTalkMessage，不连接 TeamTalk：请用 TeamTalkGroup 声明该群，或通过 --mode direct 的网关修改",
	// Limits.
	"you have too many requests in flight: retry later":                    "您正在处理中的请求过多：请稍后重试",
	"too many requests in flight: try again later":                         "正在处理中的请求过多：请稍后重试",
	"too many requests from your address in flight: try again later":       "来自您地址的请求过多：请稍后重试",
	"the request took too long to arrive, and nothing was sent: try again": "请求到达过慢，未发送任何消息：请重试",
	"too many large bodies at once: try again later":                       "同时到达的大请求体过多：请稍后重试",
	"messages arrive faster than they are delivered: this request was not recorded, and nothing was sent for it; " +
		"try again later": "消息到达的速度超过投递速度：本次请求未被记录，也未发送任何内容；请稍后重试",
	// The caller.
	"send a Kubernetes token: Authorization: Bearer TOKEN": "请带上 Kubernetes 令牌：Authorization: Bearer TOKEN",
	"send an app_key, or a Kubernetes token: Authorization: Bearer TOKEN": "" +
		"请带上 app_key，或 Kubernetes 令牌：Authorization: Bearer TOKEN",
	"the Authorization header must be: Bearer TOKEN":                       "Authorization 头必须是：Bearer TOKEN",
	"the token is not valid, or not for this audience":                     "令牌无效，或不是签发给此 audience 的",
	"Kubernetes could not check the token: try again later":                "Kubernetes 未能校验令牌：请稍后重试",
	"Kubernetes could not check the caller's permissions: try again later": "Kubernetes 未能检查调用者的权限：请稍后重试",
	"%s may not %s in namespace %q":                                        "%s 没有权限 %s（命名空间 %s）",
	"%s may not %s":                                                        "%s 没有权限 %s",
	"no such app_key":                                                      "没有这个 app_key",
	"the app_key may not speak as user %d":                                 "此 app_key 不能以用户 %s 的身份发送",
	"the app_key is not for namespace %q":                                  "此 app_key 不适用于命名空间 %s",
	"the app keys have not been read yet: try again later":                 "app_key 尚未加载：请稍后重试",
	"the app_key is for messages only: its entry in the Secret needs groups: true": "" +
		"此 app_key 只能发送消息：要管理群，请在 Secret 的对应条目中设置 groups: true",
	// The result of a message.
	"recorded, not delivered yet":                            "已记录，尚未投递",
	"recorded; the operator has not processed it yet":        "已记录；operator 尚未处理",
	"not delivered yet, the operator continues":              "尚未投递，operator 会继续",
	"not delivered yet, the operator continues; %s":          "尚未投递，operator 会继续；%s",
	"%d of %d recipients do not have it; one of them: %s":    "%[2]s 个接收者中有 %[1]s 个没有收到；其中之一：%[3]s",
	"the TeamTalkMessage was deleted before it had finished": "TeamTalkMessage 在完成之前被删除",
	"not delivered, and not retried: %s":                     "未投递，且不再重试：%s",
	"earlier messages were not sent in time":                 "它前面的消息未能及时发出",
	"another request with its key is still in progress":      "使用同一键的另一个请求仍在处理中",
	"%s; this is not final, the operator checks once more, see the TeamTalkMessage": "" +
		"%s；这不是最终结果，operator 会再次确认，请查看该 TeamTalkMessage",
	"it may have been delivered; send it again with the same Idempotency-Key to find out, if it had one: %s": "" +
		"可能已经投递；如果带了 Idempotency-Key，请用同一个键重发以确认：%s",
	// The key.
	"TeamTalkMessage %s/%s exists and was not created by the gateway: use another key": "" +
		"TeamTalkMessage %s/%s 已存在且不是网关创建的：请换一个键",
	"the key was used for another text, see TeamTalkMessage %s/%s: use another key": "" +
		"此键已用于另一段文本，见 TeamTalkMessage %s/%s：请换一个键",
	"the key was tried %d times with nothing stored: use another key": "" +
		"此键已尝试 %s 次，均未保存任何内容：请换一个键",
	"the server's deliveryToken is Disabled, and a key needs it: leave the key out, or enable it": "" +
		"服务器的 deliveryToken 为 Disabled，而使用键需要它：请去掉键，或启用 deliveryToken",
	"the server's deliveryToken is Disabled: nothing can be sent through this gateway until its administrator " +
		"enables it, or runs a gateway with --mode direct": "" +
		"服务器的 deliveryToken 为 Disabled：在管理员启用它，或改用 --mode direct 的网关之前，无法通过此网关发送",
	"wait must be above 0: this gateway keeps no record after the request": "" +
		"wait 必须大于 0：此网关不保存请求结束后的记录",
	// Kubernetes.
	"namespace %q is being deleted": "命名空间 %s 正在被删除",
	"a ResourceQuota of namespace %q is used up: raise it, or delete finished TeamTalkMessages": "" +
		"命名空间 %s 的 ResourceQuota 已用尽：请提高配额，或删除已完成的 TeamTalkMessage",
	"the API server refuses the message: %s is invalid": "API server 拒绝了该消息：%s 无效",
	"a value":                      "某个值",
	"the namespace does not exist": "命名空间不存在",
	"Kubernetes does not let the gateway create and watch TeamTalkMessages in namespace %q: bind it to the ClusterRole " +
		"teamtalk-gateway there, or check policies": "" +
		"Kubernetes 不允许网关在命名空间 %s 中创建和监视 TeamTalkMessage：请在该处绑定 ClusterRole teamtalk-gateway，或检查策略",
	// TeamTalk, in direct mode.
	"no TeamTalkServer %q in namespace %q":     "没有 TeamTalkServer %[1]s（命名空间 %[2]s）",
	"db_proxy is not connected":                "尚未连接 db_proxy",
	"the server's recipients rules exclude %d": "服务器的 recipients 规则不允许发给 %s",
	"nobody may speak as user %d: use one of the server's senders, or ask its owner to allow it": "" +
		"不能以用户 %s 的身份发送：请使用服务器的 senders 之一，或请其所有者放行",
	"no change was needed":               "无需更改",
	"user %d":                            "用户 %s",
	"user %d does not exist in TeamTalk": "用户 %s 在 TeamTalk 中不存在",
	"group %d does not exist in TeamTalk, or its database is down": "群 %s 在 TeamTalk 中不存在，或其数据库不可用",
	"TeamTalk shows none of the users; its database may be down":   "TeamTalk 没有返回任何用户；其数据库可能不可用",
	"done, but no router has announced it: clients see it at their next sync": "" +
		"已完成，但没有 router 发出通知：客户端会在下次同步时看到",
	"db_proxy refused the change: nothing was changed":                  "db_proxy 拒绝了更改：没有任何改动",
	"the request was not sent to db_proxy in time: nothing was changed": "未能及时请求 db_proxy：没有任何改动",
	"db_proxy did not answer in time: the change may have been made, check before you retry": "" +
		"db_proxy 未及时应答：更改可能已经生效，请确认后再重试",
	"db_proxy reported success, but the group does not show the change: check before you retry": "" +
		"db_proxy 报告成功，但群中看不到该更改：请确认后再重试",
	"db_proxy answered with group %d, but does not show it as requested: it may have been created, " +
		"check before you try again": "db_proxy 返回了群 %s，但其内容与请求不符：可能已经创建，请确认后再重试",
	"the system (user 0), like groups that http_msg_server created": "系统（用户 0），与 http_msg_server 创建的群一样",
	"group %d belongs to %s, and user %d may not change it: add %d to spec.groups.adoptable of the " +
		"TeamTalkServer %s/%s, or set spec.groups.adoptAny there": "" +
		"群 %s 属于%s，用户 %s 不能修改它：请把 %s 加入 TeamTalkServer %s/%s 的 spec.groups.adoptable，或在其中设置 spec.groups.adoptAny",
	"Secret %q does not exist in namespace %q, or the gateway may not read it": "" +
		"Secret %s 在命名空间 %s 中不存在，或网关无权读取",
}

// chineseReasons explain the API's reasons for which a message waits or has failed.
var chineseReasons = map[string]string{
	v1alpha1.ReasonSending:               "正在发送",
	v1alpha1.ReasonRetryScheduled:        "发送失败，将重试",
	v1alpha1.ReasonScheduled:             "尚未到 sendAfter 的时间",
	v1alpha1.ReasonSuspended:             "消息已暂停",
	v1alpha1.ReasonPartiallyDelivered:    "部分接收者已收到，其余失败",
	v1alpha1.ReasonRetriesExhausted:      "已达重试上限，消息确认未保存",
	v1alpha1.ReasonDeadlineExceeded:      "已过截止时间，消息确认未保存",
	v1alpha1.ReasonStatusTooLarge:        "消息过大，状态可能无法记录，因此未发送：请减少接收者或分成多条",
	v1alpha1.ReasonKeyReused:             "此键已用于另一段文本：请换一个键",
	v1alpha1.ReasonOutcomeUnknown:        "消息可能已投递，但无法证实；不再重试",
	v1alpha1.ReasonStoredNotRouted:       "消息已保存，但没有 router 及时接受：客户端会在下次同步时看到",
	v1alpha1.ReasonSuperseded:            "在发送之前被新的修改取代，未保存任何内容",
	v1alpha1.ReasonAdopted:               "消息早已保存，没有重复发送",
	v1alpha1.ReasonServerNotFound:        "TeamTalkServer 不存在，或不允许此命名空间使用",
	v1alpha1.ReasonServerNotReady:        "TeamTalkServer 尚未就绪：请稍后重试",
	v1alpha1.ReasonManagedByAnother:      "该 TeamTalkServer 由另一个 operator 管理",
	v1alpha1.ReasonConnectionLimit:       "此命名空间的连接数已达上限",
	v1alpha1.ReasonEndpointNotPermitted:  "operator 的管理员不允许此命名空间连接该地址",
	v1alpha1.ReasonSenderNotPermitted:    "服务器不允许以此用户的身份发送",
	v1alpha1.ReasonRecipientNotPermitted: "服务器的规则不允许发给此接收者",
	v1alpha1.ReasonKeyNotFound:           "找不到 AES 密钥：请检查 Secret",
	v1alpha1.ReasonKeyInvalid:            "AES 密钥无效：长度必须是 32 字节",
	v1alpha1.ReasonSenderNotFound:        "发送者在 TeamTalk 中不存在",
	v1alpha1.ReasonRecipientNotFound:     "接收者在 TeamTalk 中不存在",
	v1alpha1.ReasonRecipientAmbiguous:    "有多个用户或群使用此名称：请改用 id",
	v1alpha1.ReasonRecipientDeparted:     "该用户已离开 TeamTalk",
	v1alpha1.ReasonGroupNotFound:         "群在 TeamTalk 中不存在",
	v1alpha1.ReasonGroupNotReady:         "TeamTalkGroup 不存在或尚未就绪",
	v1alpha1.ReasonSenderNotInGroup:      "发送者不是该群的成员",
	v1alpha1.ReasonGroupNotAdoptable:     "服务器没有把该群列为可接管（adoptable）",
	v1alpha1.ReasonSendToSelf:            "发送者和接收者是同一个用户",
	v1alpha1.ReasonContentEmpty:          "内容为空",
	v1alpha1.ReasonContentTooLong:        "内容超过 TeamTalk 可保存的长度：请缩短",
	v1alpha1.ReasonContentInvalid:        "内容不是 UTF-8，或含有 NUL 字符",
	v1alpha1.ReasonContentNotFound:       "找不到 ConfigMap 或其中的键",
	v1alpha1.ReasonContentChanged:        "ConfigMap 中的文本在发送途中被修改",
	v1alpha1.ReasonStoreRejected:         "db_proxy 拒绝了消息，未保存任何内容",
	v1alpha1.ReasonNotStored:             "db_proxy 报告成功，但确认消息未保存",
	v1alpha1.ReasonNoAnswer:              "没有明确的应答，消息可能已保存",
}
