#!/usr/bin/env pwsh
<#
.SYNOPSIS
    Starts a server that stop-mosquitto.ps1 or the nightly shutdown stopped.
.EXAMPLE
    ./start-mosquitto.ps1 -ServerNumber 2
#>
#requires -Version 7.4
[CmdletBinding(SupportsShouldProcess)]
param(
    # As it was deployed.
    [string] $Environment = $env:DEPLOY_ENVIRONMENT ?? 'Dev',

    # As it was deployed.
    [int] $ServerNumber = ($env:DEPLOY_SERVER_NUMBER ?? 1)
)
. "$PSScriptRoot/azure.ps1"

Assert-Parameter -Pattern @{ Environment = '[A-Za-z][A-Za-z0-9]{0,7}'; ServerNumber = '[1-9][0-9]?' }
$name = Get-ServerName -Environment $Environment -ServerNumber $ServerNumber
if (-not (Test-ServerGroup -Group $name.Group)) {
    throw "there is no resource group $($name.Group): deploy the server with deploy-mosquitto.ps1"
}
if ($PSCmdlet.ShouldProcess($name.Machine, 'start')) {
    Invoke-Az vm start --resource-group $name.Group --name $name.Machine --output none
    Write-Output "$($name.Machine) is started; the broker answers a minute later"
}
