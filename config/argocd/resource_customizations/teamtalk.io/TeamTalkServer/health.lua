-- Health of a TeamTalkServer: Healthy when messages can be delivered, Progressing while the operator connects, else Degraded.
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
    elseif condition.reason ~= "Connecting" then
      hs.status = "Degraded"
    end
  end
end
return hs
