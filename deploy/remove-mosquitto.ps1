#!/usr/bin/env pwsh
<#
.SYNOPSIS
    Deletes what deploy-mosquitto.ps1 made for a server, and nothing else.
.DESCRIPTION
    The resource group goes with it, unless somebody put more into it: then only the server's own resources go. A landing
    zone's network, given to the deployment as -SubnetId, is never touched.
.EXAMPLE
    ./remove-mosquitto.ps1 -ServerNumber 2 -Force
#>
#requires -Version 7.4
[CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
param(
    # Does not ask.
    [switch] $Force,

    # As it was deployed.
    [string] $Environment = $env:DEPLOY_ENVIRONMENT ?? 'Dev',

    # As it was deployed.
    [int] $ServerNumber = ($env:DEPLOY_SERVER_NUMBER ?? 1)
)
. "$PSScriptRoot/azure.ps1"

Assert-Parameter -Pattern @{ Environment = '[A-Za-z][A-Za-z0-9]{0,7}'; ServerNumber = '[1-9][0-9]?' }
if ($Force) {
    $ConfirmPreference = 'None'
}
$name = Get-ServerName -Environment $Environment -ServerNumber $ServerNumber
$group = $name.Group
if (-not (Test-ServerGroup -Group $group)) {
    Write-Output "there is no resource group ${group}: nothing to remove"
    return
}

# The order in which they can be deleted: each is used by those before it.
$ours = @(
    $name.Schedule, $name.Machine, $name.Disk, $name.Interface, $name.Address6, $name.Address4, $name.Network, $name.Firewall
)
$found = @(Invoke-Az resource list --resource-group $group --output json | ConvertFrom-Json)
# What is part of the machine, an extension for example, is named after it and goes with it.
$others = @($found | Where-Object { $_.name -notin $ours -and $_.name -notlike "$($name.Machine)/*" })

if ($others.Count -eq 0) {
    if ($PSCmdlet.ShouldProcess($group, 'delete the resource group and all in it')) {
        Invoke-Az group delete --name $group --yes --output none
        Write-Output "$group is deleted"
    }
    return
}
Write-Warning "$group also holds what this deployment did not make, so it stays: $($others.name -join ', ')"
foreach ($wanted in $ours) {
    foreach ($resource in $found) {
        if ($resource.name -eq $wanted -and $PSCmdlet.ShouldProcess($resource.name, 'delete')) {
            Invoke-Az resource delete --ids $resource.id --output none
            Write-Output "$($resource.name) is deleted"
        }
    }
}
