-- Health of a TeamTalkReceiver: Healthy when it accepts notifications, else Degraded. Its conditions Served and Processed
-- are about gateways and notifications, and do not matter.
local hs = {status = "Progressing", message = "the operator has not taken it up yet"}
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return hs
end
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    hs.message = condition.message
    if condition.status == "True" then
      hs.status = "Healthy"
    else
      hs.status = "Degraded"
    end
  end
end
return hs
